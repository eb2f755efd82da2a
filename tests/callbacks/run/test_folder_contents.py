from callbacks.run.folder_contents import contents


def test_only_what_is_there_is_listed(tmp_path):
    assert contents(tmp_path) == []
    (tmp_path / "checkpoints").mkdir()
    for name in ("tokenizer.json", "notes.txt", "checkpoints/last.ckpt"):
        (tmp_path / name).write_text("")
    assert [line.split()[0] for line in contents(tmp_path)] == ["checkpoints", "tokenizer.json"]
