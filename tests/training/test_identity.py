"""A resume with another loss is another run: it is refused, and the message says what differs."""

import json

import pytest

from stitchwork.losses import CrossEntropy, Distillation, WeightedSum
from stitchwork.training import Taught, fit
from stitchwork.training import checkpoint as checkpoints

from .helpers import FAST, network, samples


def run(folder, model, loss=None):
    fit(model, samples(), recipe=FAST, loss=loss, checkpoint_dir=folder, resume=True, progress=False)


def test_another_loss_is_refused(tmp_path):
    """Also where one number of one part differs; where an older checkpoint says nothing of it, any will do."""

    def loss(weight):
        return WeightedSum((0.4, CrossEntropy()), (0.6, CrossEntropy(class_weights=[1.0, 1.0, weight])))

    run(tmp_path, network(), loss(2.0))
    for other in (loss(3.0), WeightedSum((0.5, CrossEntropy())), None):
        with pytest.raises(ValueError, match=r"another run: loss was .WeightedSum\(factors=\[0\.4, 0\.6\], .*, now "):
            run(tmp_path, network(), other)
    run(tmp_path, network(), loss(2.0))
    path = checkpoints.newest(tmp_path) / "run.json"
    content = json.loads(path.read_text())
    del content["identity"]["loss"]
    path.write_text(json.dumps(content))
    run(tmp_path, network())


def test_a_resume_with_another_share_of_the_teacher_is_refused(tmp_path):
    def taught(alpha):
        return Taught(network(0), network(7), Distillation("soft", alpha))

    for alpha in (0.3, 0.3):
        run(tmp_path, taught(alpha), taught(alpha).loss)
    with pytest.raises(ValueError, match=r"another run: loss was .Distillation\(.*alpha=0\.3.*now .*alpha=0\.5"):
        run(tmp_path, taught(0.5), taught(0.5).loss)
