"""The outcome of checking a file against its certificate: frozen records."""

from dataclasses import dataclass
from pathlib import Path

from kerasnas.errors import ExportMismatch

__all__ = ["CertificateCheck", "Finding"]


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        name: "file", "loads", "tensors" or "outputs".
        held: whether it is as certified.
        text: what was found.
    """

    name: str
    held: bool
    text: str


@dataclass(frozen=True)
class CertificateCheck:
    """Whether a file holds what its certificate says, on this machine.

    Attributes:
        path: the file.
        findings: what was checked; what comes after a file that does not load is left out.
    """

    path: Path
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """True if everything was as certified."""
        return all(finding.held for finding in self.findings)

    def raise_for_failure(self) -> None:
        """Raise ExportMismatch with what does not hold, unless all does."""
        if not self.passed:
            wrong = "; ".join(f"{finding.name}: {finding.text}" for finding in self.findings if not finding.held)
            raise ExportMismatch(f"Expected {self.path.name} to be as certified, but {wrong}. Do not ship this file.")

    def __str__(self) -> str:
        return "\n".join(f"  {'ok ' if f.held else 'NOT'}  {f.name:<9} {' '.join(f.text.split())}" for f in self.findings)
