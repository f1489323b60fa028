"""Signs of an NVIDIA GPU: one without a working driver has some, a machine without has none."""

import pytest

from livepick.host import gpu_signs


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return the folder of a machine without a GPU."""
    monkeypatch.setattr(gpu_signs, "_DEVICES", tmp_path / "dev")
    monkeypatch.setattr(gpu_signs, "_DRIVER", tmp_path / "proc" / "version")
    monkeypatch.setattr(gpu_signs, "_PCI", tmp_path / "pci")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for folder in ("dev", "proc", "pci", "bin"):
        (tmp_path / folder).mkdir()
    return tmp_path


def put_card(machine, vendor, kind):
    card = machine / "pci" / "0000:65:00.0"
    card.mkdir()
    (card / "vendor").write_text(f"{vendor}\n")
    (card / "class").write_text(f"{kind}\n")


def test_a_machine_without_a_gpu_has_no_sign(machine):
    (machine / "dev" / "null").touch()
    put_card(machine, "0x1af4", "0x030000")
    assert gpu_signs.gpu_sign() == ""


def test_a_gpu_whose_driver_is_not_loaded_is_on_the_bus(machine):
    put_card(machine, "0x10de", "0x030200")
    assert gpu_signs.gpu_sign() == "there is an NVIDIA GPU on the PCI bus (0000:65:00.0)"


def test_the_sound_of_a_gpu_alone_is_no_gpu(machine):
    put_card(machine, "0x10de", "0x040300")
    assert gpu_signs.gpu_sign() == ""


def test_devices_driver_and_programs_are_signs(machine):
    program = machine / "bin" / "nvidia-smi"
    program.touch(mode=0o755)
    assert gpu_signs.gpu_sign() == "nvidia-smi is installed"
    (machine / "proc" / "version").touch()
    assert "driver is loaded" in gpu_signs.gpu_sign()
    (machine / "dev" / "nvidia0").touch()
    assert "/dev has" in gpu_signs.gpu_sign()
