"""Dashboard for examining a model: how it was trained, and how it compares with the current one."""

from observability.frame import board
from observability.panels import Scale, curves, figure, listing

__all__ = ["training_board"]

_NOW = [
    figure(
        "Training",
        "Whether a run is under way; picking goes on meanwhile.",
        "livepick_training_running{@}",
        words={0: "no", 1: "yes"},
    ),
    figure(
        "Model",
        "Which model picks.",
        "livepick_model_info{@}",
        name="{{kind}} {{version}}",
    ),
    figure(
        "Age of the model",
        "Since it was promoted, or the service first picked with it.",
        "time() - (livepick_model_promoted_timestamp_seconds{@} > 0)",
        unit="s",
    ),
    figure(
        "Better at the gate by",
        "Average precision of the last candidate less that of the one in use; 0 before any.",
        """
        livepick_gate_average_precision{model="candidate", @}
        - ignoring (model) livepick_gate_average_precision{model="champion", @}
        """,
        unit="percentunit",
    ),
    figure(
        "Micrographs toward the first training",
        "Of those that it waits for; some may be unfit to learn from.",
        """
        livepick_ledger_micrographs{state="picked", @}
        / ignoring (state) livepick_bootstrap_micrographs{@}
        """,
        unit="percentunit",
        scale=Scale(None, 1, good="text"),
    ),
    figure(
        "Drift",
        "How many changes of the last micrographs are no chance.",
        "sum by (job, instance, instrument) (livepick_drift_active{@})",
        scale=Scale(1, 3),
    ),
]

_CURVES = [
    curves(
        "Loss",
        "Of the running or the last training. Held-out above training and rising: overfitting.",
        [
            ("livepick_training_loss{@}", "training"),
            ("livepick_training_validation_loss{@}", "held out"),
        ],
        width=12,
    ),
    curves(
        "Accuracy",
        "Mean of the shares of particle and background pixels that are right; 0.5 finds nothing.",
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
        "Of the last candidate and of the one in use then, on held-out micrographs.",
        [("livepick_gate_average_precision{@}", "{{model}}")],
        unit="percentunit",
        most=1,
    ),
    curves(
        "Precision at the gate",
        "Of as many picks as the one in use writes.",
        [("livepick_gate_precision{@}", "{{model}}")],
        unit="percentunit",
        most=1,
    ),
    curves(
        "Runs that ended",
        "A day, by what became of them.",
        [("increase(livepick_training_runs_total{@}[1d])", "{{result}}")],
    ),
]

_FAULTS = [
    curves(
        "Findings",
        "What learning curves said was wrong, a day.",
        [("increase(livepick_training_findings_total{@}[1d])", "{{finding}}")],
    ),
    curves(
        "Trainings repeated",
        "With the remedy of a finding, a day.",
        [("increase(livepick_training_reruns_total{@}[1d])", "")],
    ),
    curves(
        "Errors",
        "Of training, an hour, by reason.",
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
        "Since a run last ended so",
        "By result; nothing is drawn for what has not happened since the service started.",
        [("time() - (livepick_training_ended_timestamp_seconds{@} > 0)", "{{result}}")],
        unit="s",
    ),
    curves(
        "Reloads of the config",
        "An hour, by whether they were taken.",
        [("3600 * rate(livepick_config_reloads_total{@}[$__rate_interval])", "{{result}}")],
        slow=True,
    ),
    curves(
        "Config in force",
        "1: the file on disk; 0: it was edited and refused.",
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
        "How the model learned, whether it was better, and what was wrong.",
        {
            "Now": _NOW,
            "Learning curves": _CURVES,
            "Gate": _GATE,
            "Faults and edits": _FAULTS,
            "Settings": _SETTINGS,
        },
        span="now-24h",
    )
