"""A certificate on one screen."""

from typing import TYPE_CHECKING, Any

from kerasnas.export.samples import shapes_text

if TYPE_CHECKING:
    from kerasnas.export.certificate import Certificate

__all__ = ["certificate_text"]

_MOST_LABELS = 12
_MOST_FACTS = 4


def certificate_text(certificate: "Certificate") -> str:
    """Return the figures of a certificate, one line for each kind."""
    c, versions = certificate, certificate.versions
    lines = [f"{c.file['name']}, certified {c.created[:10]} by kerasnas {versions.get('kerasnas')}"]

    def add(title: str, text: str | None) -> None:
        if text:
            lines.append(f"  {title:<12} {text}")

    add("made of", _origin(c))
    for step in c.compression:
        facts = [f"{k.replace('_', ' ')} {_short(v)}" for k, v in step.items() if k != "method" and _plain(v)]
        add("compressed", ", ".join([step["method"], *facts[:_MOST_FACTS]]))
    add("takes", "; ".join(map(_tensor, c.inputs)) + (f"; {_preprocessing(c.preprocessing)}" if c.preprocessing else ""))
    add("gives", "; ".join(map(_tensor, c.outputs)))
    add("labels", None if c.labels is None else _labels(c.labels))
    add("size", f"{c.file['size_bytes'] / 1000:,.1f} kB, {c.file['gzip_bytes'] / 1000:,.1f} kB gzipped")
    if c.accuracy is not None:
        beside = "".join(
            f", {title} {c.accuracy[key]:.4f}"
            for key, title in (("model", "the Keras model"), ("original", "before compression"))
            if c.accuracy.get(key) is not None
        )
        add("accuracy", f"{c.accuracy['file']:.4f} on {c.accuracy['samples']:,} samples{beside}")
    if c.parity is not None:
        known = [d for d in c.parity["max_abs_difference"].values() if d is not None]
        add("parity", f"{max(known):.2g} from Keras over {c.parity['n_samples']} samples; {c.parity['criterion']}")
    if c.latency is not None:
        of = shapes_text(c.latency.get("shapes") or {})
        add("latency", f"median {c.latency['median_ms']:.3g} ms a call of {c.latency['batch_size']}{of}, {_machine(c)}")
    return "\n".join(lines)


def _origin(c: "Certificate") -> str | None:
    parts = [] if c.model is None else [f"{c.model['name']}, {c.model['parameters']:,} parameters"]
    told = c.provenance or {}
    parts += [f"search {told['search']}"] if told.get("search") else []
    parts += [f"trial {_trial(told)}"] if told.get("trial") or told.get("trial_id") else []
    return ", ".join(parts)


def _trial(told: Any) -> Any:
    """Return the number of a trial as the page of its search counts, from 1."""
    name = str(told.get("trial_id"))
    return told.get("trial") or (int(name) + 1 if name.isdecimal() else name)


def _machine(c: "Certificate") -> str:
    threads = c.latency["threads"] if c.latency else 1
    instructions = c.machine.get("int8")
    return f"{threads} thread{'s' * (threads != 1)} of {c.machine['cpu']} ({instructions}), {c.machine['runtime']}"


def _tensor(row: Any) -> str:
    shape = ", ".join("batch" if i == 0 and n is None else "any" if n is None else str(n) for i, n in enumerate(row["shape"]))
    text = f"{row['name']} ({shape}) {row['dtype']}"
    if "scale" in row:
        text += f", each for {row['scale']:.4g} * (value - {row['zero_point']}); kerasnas converts {row['real_dtype']} itself"
    return text


def _preprocessing(told: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in told.items()) if isinstance(told, dict) else str(told)


def _labels(names: Any) -> str:
    shown = ", ".join(names[:_MOST_LABELS])
    return shown if len(names) <= _MOST_LABELS else f"{shown}, ... ({len(names)} in all)"


def _plain(value: Any) -> bool:
    return isinstance(value, int | float | bool) or (isinstance(value, str) and len(value) <= 40)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
