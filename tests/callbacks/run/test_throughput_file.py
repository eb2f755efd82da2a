from callbacks.run.throughput_file import read_throughput, write_throughput


def test_what_is_written_is_read(tmp_path):
    rows = [(1, 2.5, 7), (2, 0.125, 9)]
    write_throughput(tmp_path / "throughput.csv", "sentences", rows)
    assert (tmp_path / "throughput.csv").read_text() == "epoch,seconds,sentences\n1,2.500,7\n2,0.125,9\n"
    assert read_throughput(tmp_path / "throughput.csv") == ("sentences", rows)


def test_damaged_lines_are_left_out(tmp_path):
    path = tmp_path / "throughput.csv"
    assert read_throughput(path) == ("examples", [])
    path.write_text("epoch,seconds,sentences\n1,2.5,7\n2,x,7\n3,1.0")
    assert read_throughput(path) == ("sentences", [(1, 2.5, 7)])
