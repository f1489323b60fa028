"""Dashboard for examining a model: how it was trained, and how it compares with the current one."""

from observability.frame import board
from observability.panels import Scale, curves, figure, listing

__all__ = ["training_board"]

_NOW = [
    figure(
        "Training",
        "Yes while a run is in progress; picking continues meanwhile.",
        "livepick_training_running{@}",
        words={0: "no", 1: "yes"},
    ),
    figure(
        "Model",
        "Model in use.",
        "livepick_model_info{@}",
        name="{{kind}} {{version}}",
    ),
    figure(
        "Age of the model",
        "Time since it was promoted, or first used by the service.",
        "time() - (livepick_model_promoted_timestamp_seconds{@} > 0)",
        unit="s",
    ),
    figure(
        "Gain at the gate",
        "Average precision of the last candidate minus that of the model in use; 0 before any.",
        """
        livepick_gate_average_precision{model="candidate", @}
        - ignoring (model) livepick_gate_average_precision{model="champion", @}
        """,
        unit="percentunit",
    ),
    figure(
        "Micrographs toward the first training",
        "Fraction of those that training waits for; some may be unsuitable.",
        """
        livepick_ledger_micrographs{state="picked", @}
        / ignoring (state) livepick_bootstrap_micrographs{@}
        """,
        unit="percentunit",
        scale=Scale(None, 1, good="text"),
    ),
    figure(
        "Drift",
        "Number of changes in the last micrographs that are not due to chance.",
        "sum by (job, instance, instrument) (livepick_drift_active{@})",
        scale=Scale(1, 3),
    ),
]

_CURVES = [
    curves(
        "Loss",
        "Loss of the running or the last training. Held out higher and rising: overfitting.",
        [
            ("livepick_training_loss{@}", "training"),
            ("livepick_training_validation_loss{@}", "held out"),
        ],
        width=12,
    ),
    curves(
        "Accuracy",
        "Mean of the fractions of particle and background pixels that are right; 0.5: none found.",
        [
            ("livepick_training_accuracy{@}", "training"),
            ("livepick_training_validation_accuracy{@}", "held out"),
        ],
        unit="percentunit",
        most=1,
        width=12,
    ),
]

_GATE = [
    curves(
        "Average precision at the gate",
        "The last candidate and the model in use then, on held-out micrographs.",
        [("livepick_gate_average_precision{@}", "{{model}}")],
        unit="percentunit",
        most=1,
    ),
    curves(
        "Precision at the gate",
        "Precision with as many picks as the model in use writes.",
        [("livepick_gate_precision{@}", "{{model}}")],
        unit="percentunit",
        most=1,
    ),
    curves(
        "Runs that ended",
        "Runs per day, by result.",
        [("increase(livepick_training_runs_total{@}[1d])", "{{result}}")],
    ),
]

_FAULTS = [
    curves(
        "Findings",
        "Faults that learning curves showed, per day.",
        [("increase(livepick_training_findings_total{@}[1d])", "{{finding}}")],
    ),
    curves(
        "Trainings repeated",
        "Repetitions per day, with the remedy of a finding.",
        [("increase(livepick_training_reruns_total{@}[1d])", "")],
    ),
    curves(
        "Errors",
        "Errors of training per hour.",
        [
            (
                (
                    "sum by (job, instance, instrument, stage)"
                    ' (3600 * rate(livepick_errors_total{stage="train", @}[$__rate_interval]))'
                ),
                "{{stage}}",
            )
        ],
        slow=True,
    ),
    curves(
        "Time since a run last ended",
        "By result; empty for results that have not occurred since the service started.",
        [("time() - (livepick_training_ended_timestamp_seconds{@} > 0)", "{{result}}")],
        unit="s",
    ),
    curves(
        "Reloads of the config",
        "Reloads per hour, by result.",
        [("3600 * rate(livepick_config_reloads_total{@}[$__rate_interval])", "{{result}}")],
        slow=True,
    ),
    curves(
        "Config on disk is in use",
        "1: yes; 0: it was edited and refused.",
        [("livepick_config_last_reload_successful{@}", "")],
        most=1,
    ),
]

_SETTINGS = [
    listing(
        "Settings",
        "Two sessions with the same training fingerprint share a model.",
        "livepick_config_info{@}",
        height=5,
    ),
]


def training_board() -> str:
    """Return the dashboard as JSON."""
    return board(
        "Training",
        "How the model was trained, if it was better, and what was wrong.",
        {
            "Now": _NOW,
            "Learning curves": _CURVES,
            "Gate": _GATE,
            "Faults and edits": _FAULTS,
            "Settings": _SETTINGS,
        },
        span="now-24h",
    )
