"""A phrase is a record as a frozen dataclass is, whoever made its class."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from harness.protocol.phrases.phrase import Phrase


class Light(Phrase):
    page: str
    operand: ClassVar[str] = "RCX"
    wrong: str = "STATUS"


class Below(Light):
    own: bool = False


@dataclass(frozen=True)
class Model:
    page: str
    operand: ClassVar[str] = "RCX"
    wrong: str = "STATUS"


@pytest.mark.parametrize("values, named", [(("a",), {}), (("a", "b"), {}), ((), {"wrong": "b", "page": "a"}), (("a",), {"wrong": "STATUS"})])
def test_it_is_made_compared_and_shown_as_a_dataclass_is(values, named):
    light, model = Light(*values, **named), Model(*values, **named)
    assert (light.page, light.wrong, light.operand) == (model.page, model.wrong, model.operand)
    assert repr(light) == repr(model).replace("Model", "Light")
    assert light == Light(model.page, model.wrong) and hash(light) == hash(Light(model.page, model.wrong)) and light != Light("other")


@pytest.mark.parametrize("values, named", [((), {}), (("a", "b", "c"), {}), (("a",), {"page": "b"}), (("a",), {"none": 1}), (("a",), {"operand": 1})])
def test_what_a_dataclass_refuses_it_refuses(values, named):
    for made in (Light, Model):
        with pytest.raises(TypeError):
            made(*values, **named)


def test_it_is_not_changed():
    light = Light("a")
    for act in (lambda: setattr(light, "page", "b"), lambda: delattr(light, "page")):
        with pytest.raises(AttributeError, match="Light.page: a phrase is not changed"):
            act()


def test_fields_of_its_base_come_first_and_its_class_counts():
    assert Below.fields == ("page", "wrong", "own") and Below("a", "b", True).own
    assert Below("a") != Light("a") and Light("a") != Below("a")
