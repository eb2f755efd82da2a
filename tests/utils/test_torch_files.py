"""Files of torch that hold code, and archives that torch would not have written."""

import zipfile

import pytest
import torch
from torch import nn

from utils.torch_files import load_plain


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_whole_model_is_named_as_what_it_is(tmp_path, wrapped):
    model = nn.Sequential(nn.Linear(2, 2))
    torch.save({"net": model, "epoch": 3} if wrapped else model, tmp_path / "whole.pt")
    with pytest.raises(ValueError, match=r"^it is a whole pickled model .*state_dict\(\)"):
        load_plain(tmp_path / "whole.pt")


def test_a_whole_model_in_the_format_before_the_zip_archive_is_told_what_to_do(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"^it is .*state_dict\(\)"):
        load_plain(tmp_path / "whole.pt")


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_torchscript_program_is_named_as_what_it_is(tmp_path):
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), str(tmp_path / "script.pt"))
    with pytest.raises(ValueError, match=r"^it is a TorchScript program.*state_dict\(\)"):
        load_plain(tmp_path / "script.pt")


def test_a_compressed_archive_is_refused(tmp_path):
    """Torch would map what is compressed as if it were values."""
    torch.save({"w": torch.arange(1000)}, tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as source,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for record in source.namelist():
            packed.writestr(record, source.read(record))
    with pytest.raises(ValueError, match=r"^it is damaged or truncated: .* is compressed"):
        load_plain(tmp_path / "b.pt")


@pytest.mark.parametrize("name", ["a.0.w", "a.1.1"])
def test_the_damaged_tensor_is_named_wherever_it_is(tmp_path, name):
    tensors = [torch.full((100,), float(number)) for number in range(3)]
    torch.save({"a": [{"w": tensors[0], "copy": tensors[0]}, (tensors[1], tensors[2])]}, tmp_path / "a.pt")
    content = bytearray((tmp_path / "a.pt").read_bytes())
    wanted = tensors[0 if name == "a.0.w" else 2].numpy().tobytes()
    content[content.index(wanted) + 9] ^= 1
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"^it is damaged: the checksum of {name} is wrong$"):
        load_plain(tmp_path / "a.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_plain_data_of_either_format_of_torch_is_read(tmp_path, zipped):
    torch.save({"w": torch.arange(3)}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    assert torch.equal(load_plain(tmp_path / "a.pt")["w"], torch.arange(3))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04"])
def test_a_damaged_file_is_said_to_be_so_without_its_name(tmp_path, content):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"^it is (damaged or truncated: \w+.*|not plain data: .*)$") as raised:
        load_plain(tmp_path / "a.pt")
    assert "a.pt" not in str(raised.value)


def test_a_lack_of_memory_is_no_damage(tmp_path, monkeypatch):
    torch.save({"w": torch.arange(3)}, tmp_path / "a.pt")

    def fail(*args, **kwargs):
        raise RuntimeError("unable to mmap 128 bytes from file <a.pt>: Cannot allocate memory (12)")

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(MemoryError, match="not enough memory to read"):
        load_plain(tmp_path / "a.pt")
