"""Recorded graphs of TensorFlow 0.12.1 to 1.15.0, recalibrated. `python -m tests.recalibration` takes them all."""

from bn_graph import InputError
from tests.audit.sessions import CannotRun
from tests.recalibration.recorded import recalibrated_recording

_SAMPLE = 50  # of the recorded graphs


def test_a_recorded_graph_stores_what_its_own_updates_would_have_stored(corpus, tmp_path):
    folder, expected = corpus
    wrong, compared, towers = {}, 0, 0
    for number, name in enumerate(sorted(expected)[:: len(expected) // _SAMPLE]):
        (tmp_path / str(number)).mkdir()
        try:
            done = recalibrated_recording(folder / name, expected[name], tmp_path / str(number))
        except (CannotRun, InputError):
            continue
        compared, towers = compared + len(done.stored), towers + len(done.towers)
        if done.wrong():
            wrong[name] = done.wrong()
    assert not wrong
    assert compared > 10 and towers > 2
