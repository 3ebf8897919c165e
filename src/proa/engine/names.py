"""Names and ids of containers: making them, checking them, telling ids from names.

A generated name is an adjective and the surname of somebody who helped people to understand ships,
the sea, computers or the sky: ``patient_hopper``. The words are kept as two strings and split when
needed, because this module is part of every warm process.
"""

from __future__ import annotations

import os
import re
from typing import Final

from proa.errors import Invalid

ID_LENGTH: Final = 64
SHORT_ID_LENGTH: Final = 12

_ADJECTIVES = (
    "able agile airy alert amber ample apt arctic ardent astute autumn avid balmy basic blithe "
    "bold brave breezy bright brisk bronze calm candid careful casual cheerful civil clear clever "
    "coastal cobalt copper coral cosmic cozy crisp curious daring deft devout distant dreamy "
    "dutiful eager early earnest easy elated eloquent eminent fair famed fast fearless fervent "
    "festive fine firm fluent fond frank fresh frugal gallant generous gentle gifted glad gleaming "
    "golden graceful grand grateful hardy hearty helpful honest hopeful humble humorous idle "
    "indigo jaunty jolly jovial joyful keen kind lasting learned leisurely level light lively "
    "lofty loyal lucid lucky lunar mellow merry mild mindful modest musing neat nimble noble "
    "northern novel open optimal orderly patient peaceful pensive placid playful polite proud "
    "prudent quick quiet radiant rapid ready resolute restful robust rosy rugged sage sandy serene "
    "sharp silent silver simple sincere skilful sleek sleepy smart smooth snug sober solid spry "
    "stable starry steady stellar still stout subtle sunny sure swift tender thoughtful tidal tidy "
    "tireless tranquil trusty upbeat urbane valiant vast verdant vigilant vivid warm watchful "
    "wise witty wondrous young zealous zesty"
)
_SURNAMES = (
    "abel adams agnesi albers alcott allen ampere anning archimedes aryabhata avicenna babbage "
    "banks banneker banzai barcroft bardeen barents bartik baudin beaufort becquerel behaim bell "
    "bering bernoulli bessel bohr boole booth borg bose bowditch boyle brahe brahmagupta brattain "
    "brunel burnell byron cabot cannon carson cartier cauchy cavendish celsius cerf champlain "
    "chandrasekhar chaplygin chatterjee church clarke cook copernicus cori cousteau curie dampier "
    "darwin davinci dias diffie dijkstra dirac doppler drake dumont earhart eckert edgerton edison "
    "einstein elion engelbart eratosthenes euclid euler faraday fermat fermi feynman flinders "
    "floyd fourier franklin galileo galois gama gauss germain goldberg goodall grace hadley halley "
    "hamilton hamming harrison hawking heisenberg hellman henry hermann herschel hertz hevelius "
    "heyerdahl hipparchus hoare hodgkin holberton hollerith hooke hopper hudson hugle humboldt "
    "huygens hypatia ibnbattuta ishizaka jackson jang jemison jennings johnson joliot joule kahn "
    "kalam kapitsa kare keller kelvin kepler khayyam kilby kirch knuth kovalevskaya kowalevski "
    "lagrange lalande lamarr lamport laplace lavoisier leavitt leibniz lichterman linnaeus liskov "
    "lovelace lubanzadio magellan malpighi marconi maury maxwell mayer mccarthy mcclintock mclean "
    "mendel mendeleev mercator merian mitchell montalcini moore morse moser nansen napier nash "
    "neumann newton nightingale nobel noether ohm oppenheimer ostrom pascal pasteur payne "
    "perlman pike planck poincare polo ptolemy pythagoras raman ramanujan rhodes ride riemann "
    "ritchie robinson roemer rosalind ross rubin rutherford sagan sammet saussure scott shackleton "
    "shannon shaw shockley sinoussi slocum snyder solomon stonebraker sutherland swanson tabei "
    "tasman tereshkova tesla tharp thompson torvalds tu turing vancouver varahamihira vaughan "
    "vespucci villani visvesvaraya volhard volta wegener wescoff wiles williams wilson wing "
    "wozniak wright yalow yonath zhukovsky"
)

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_HEX = re.compile(r"[0-9a-f]{1,64}")


def generate_id() -> str:
    """Return a new container id: 64 random lower-case hex digits.

    The first twelve are never all decimal: such a short id would be taken for a number by tools
    that read it (a hostname, YAML).
    """
    while True:
        identity = os.urandom(ID_LENGTH // 2).hex()
        if not identity[:SHORT_ID_LENGTH].isdecimal():
            return identity


def generate_name(attempt: int = 0) -> str:
    """Return a random ``adjective_surname``; whether it is free is the caller's business.

    Args:
        attempt: how many names were found in use before; from the third on a digit is added.
    """
    adjectives, surnames = _ADJECTIVES.split(), _SURNAMES.split()
    number = int.from_bytes(os.urandom(8), "little")
    number, adjective = divmod(number, len(adjectives))
    number, surname = divmod(number, len(surnames))
    suffix = str(number % 10**attempt) if attempt > 2 else ""
    return f"{adjectives[adjective]}_{surnames[surname]}{suffix}"


def validate_name(name: str) -> str:
    """Return a container's name without the leading slash that Docker's API may put before it.

    Raises:
        Invalid: not ``[a-zA-Z0-9][a-zA-Z0-9_.-]+``, or longer than a file name can be.
    """
    name = name.removeprefix("/")
    if not _NAME.fullmatch(name) or len(name) > 255:
        raise Invalid(
            f"invalid container name '{name}'",
            "use two to 255 of the characters a-z A-Z 0-9 _ . - and begin with a letter or digit",
        )
    return name


def is_id(text: str) -> bool:
    """Tell whether ``text`` is a full container id."""
    return len(text) == ID_LENGTH and _HEX.fullmatch(text) is not None


def is_hex_prefix(text: str) -> bool:
    """Tell whether ``text`` could be an id or the beginning of one."""
    return _HEX.fullmatch(text) is not None


def short_id(identity: str) -> str:
    """Return the form that tables show: twelve digits, without ``sha256:``."""
    return identity.removeprefix("sha256:")[:SHORT_ID_LENGTH]
