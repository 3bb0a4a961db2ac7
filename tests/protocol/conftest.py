"""Both ways to write a lock operation, for files of sequences: `pytestmark = pytest.mark.usefixtures("both_primitives")`."""

import pytest

from tests import stage


@pytest.fixture(params=["cas", "bts"])
def both_primitives(request, monkeypatch):
    """Stages of the test are made with one primitive, and then with the other."""
    monkeypatch.setattr(stage, "PRIMITIVE", request.param)
