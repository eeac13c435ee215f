import pytest

from fullstory_async.cli import main


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Run a command in a directory of its own: its exit code, output and messages."""
    monkeypatch.chdir(tmp_path)

    def run_command(*arguments: str):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = capfd.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run_command
