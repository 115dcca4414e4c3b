from importlib import metadata

import pytest

from keras_trt._machine import deps
from keras_trt.diagnosis.packages import packages

REQUIRES = [
    "numpy>=1.26",
    'rich<2; extra == "keras"',
    'keras-trt[cuda]; extra == "rtx"',
    'no-such-package>=3; extra == "rtx"',
    'rich<2; extra == "rtx"',
    'pytest; extra == "test"',
]


class Metadata:
    def get_all(self, name):
        assert name == "Provides-Extra"
        return ["keras", "rtx", "test"]


@pytest.fixture
def declared(monkeypatch):
    monkeypatch.setattr(metadata, "metadata", lambda _: Metadata())
    monkeypatch.setattr(metadata, "requires", lambda _: REQUIRES)


def test_packages_are_those_that_users_extras_ask_for(declared):
    numpy, rich, missing = packages()
    assert (numpy.package, numpy.extras, numpy.needed, numpy.fits) == ("numpy", (), ">=1.26", True)
    assert numpy.version == metadata.version("numpy")
    assert (rich.package, rich.extras, rich.fits) == ("rich", ("keras", "rtx"), False)
    assert rich.command == "pip install -U 'rich<2'"
    assert (missing.package, missing.version, missing.fits) == ("no-such-package", None, False)


def test_a_version_in_a_form_of_its_own_is_taken(declared, monkeypatch):
    monkeypatch.setattr(deps, "installed", lambda _: "build of today")
    assert all(package.fits for package in packages())


def test_without_metadata_there_are_none(monkeypatch):
    def absent(_):
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "metadata", absent)
    assert packages() == ()
