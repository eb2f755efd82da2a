from utils.natural_order import natural_key


def test_numbers_in_names_count_as_numbers():
    names = ["resnet110", "resnet20", "b2c10", "b2c9", "10", "9", "a", ""]
    assert sorted(names, key=natural_key) == ["", "9", "10", "a", "b2c9", "b2c10", "resnet20", "resnet110"]
    assert sorted(["x²", "x1", "x"], key=natural_key) == ["x", "x1", "x²"]
