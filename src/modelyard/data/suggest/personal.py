"""Which columns are likely to tell who a person is, or what a model should not judge by."""

import re
from collections.abc import Callable

from modelyard.data.suggest.columns import Column

_NAMED = re.compile(
    r"e[ _-]?mail|(tele)?phone|(^|[ _-])(mobile|cell|fax)([ _-]|$)"
    r"|(first|last|sur|given|family|full|maiden|middle|user|customer|client|patient)[ _-]?name"
    r"|^name$|^names$|ssn|social[ _-]?sec|passport|(^|[ _-])iban([ _-]|$)"
    r"|(credit|debit)?[ _-]?card[ _-]?(no|nr|num|number)|(^|[ _-])street|(^|[ _-])address"
    r"|(zip|post)[ _-]?code|^zip$|birth[ _-]?(date|day)|date[ _-]?of[ _-]?birth"
    r"|(^|[ _-])dob([ _-]|$)"
    r"|(^|[ _-])ip([ _-]?addr(ess)?)?$|licen[cs]e[ _-]?(plate|no|nr|number)"
    r"|(tax|national|insurance|health)[ _-]?(id|no|nr|number)",
    re.IGNORECASE,
)
_SENSITIVE = re.compile(
    r"(^|[ _.-])(sex|gender|race|ethnic(ity)?|religion|nationality|citizenship|disability|disabled"
    r"|marital([ _.-]?status)?|personal[ _.-]status|age|pregnan(t|cy)|foreign([ _.-]worker)?)"
    r"([ _.-]|$)",
    re.IGNORECASE,
)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[A-Za-z]{2,}")
_PHONE = re.compile(r"(\+|00|\()?[0-9][0-9 ()/.-]{6,18}[0-9]")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}( ?[A-Z0-9]{4}){2,7} ?[A-Z0-9]{1,4}")
_IP = re.compile(r"([0-9]{1,3}\.){3}[0-9]{1,3}")
_SOCIAL = re.compile(r"[0-9]{3}-[0-9]{2}-[0-9]{4}")
_MOST = 0.8
_FEW_DIGITS = 9


def personal_reason(column: Column) -> str:
    """Why a column looks as if it told who a person is; empty where it does not."""
    if column.kind == "text" and len(column.sample) >= 5:
        for what, holds in _PATTERNS:
            if sum(map(holds, column.sample)) >= _MOST * len(column.sample):
                return f"personal: its values look like {what}"
    if _NAMED.search(column.name) and column.kind in ("text", "integer", "date"):
        return "personal by its name"
    return ""


def is_sensitive(column: Column) -> bool:
    """Whether a column names groups that a model may treat unequally, by its name."""
    return _SENSITIVE.search(column.name) is not None and column.kind not in ("date", "datetime")


def _is_phone(text: str) -> bool:
    """Digits with what only a telephone number has between or before them."""
    digits = re.sub(r"\D", "", text)
    marked = text.startswith(("+", "00", "(")) or len(re.findall(r"[ ()/-]", text)) > 1
    return bool(_PHONE.fullmatch(text)) and len(digits) >= _FEW_DIGITS and marked


def _is_card(text: str) -> bool:
    """13 to 19 digits with a right last one (Luhn, ISO/IEC 7812-1 annex B)."""
    if not re.fullmatch("[0-9 -]{13,23}", text):
        return False
    digits = [int(char) for char in text if char.isdigit()]
    if not 13 <= len(digits) <= 19:
        return False
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _matches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


_PATTERNS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("e-mail addresses", _matches(_EMAIL)),
    ("card numbers", _is_card),
    ("IBANs", _matches(_IBAN)),
    ("IP addresses", _matches(_IP)),
    ("social security numbers", _matches(_SOCIAL)),
    ("telephone numbers", _is_phone),
)
