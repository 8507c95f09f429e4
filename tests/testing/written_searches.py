"""Folders of searches that were never made, for tests of what reads them."""

import json


def write(folder, scores, *, direction="max", ids=None, values=None, status=None):
    """Write the folder of a search with these scores; None stands for a trial that failed."""
    for i, score in enumerate(scores):
        trial_id = ids[i] if ids else f"{i:03d}"
        observations = [] if score is None else [{"value": [score], "step": 0}]
        trial = {
            "trial_id": trial_id,
            "hyperparameters": {"space": [], "values": (values or {}).get(i, {"a": i})},
            "metrics": {"metrics": {"score": {"direction": direction, "observations": observations}}},
            "score": score,
            "best_step": 0,
            "status": status or ("FAILED" if score is None else "COMPLETED"),
            "message": None,
        }
        file = folder / f"trial_{trial_id}" / "trial.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(trial))
    (folder / "search.json").write_text(json.dumps({"objective": "score", "direction": direction}))
    return folder
