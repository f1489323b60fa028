"""Dashboard for the administrator of the machine: every stage, and the resources it needs."""

from observability.frame import board
from observability.panels import OLDEST_WAITS, Scale, curves, figure, quantile

__all__ = ["pipeline_board"]

_BY_STAGE = [
    curves(
        "Rate by stage",
        "Micrographs a minute that pass each stage of picking.",
        [
            (
                "60 * rate(livepick_stage_duration_seconds_count{@}[$__rate_interval])",
                "{{stage}}",
            )
        ],
        slow=True,
    ),
    curves(
        "Errors by stage and reason",
        "An hour, of micrographs that are given up or tried again, and of writes and trainings.",
        [("3600 * rate(livepick_errors_total{@}[$__rate_interval]) > 0", "{{stage}} {{reason}}")],
        slow=True,
    ),
    curves(
        "Duration by stage",
        "Of 95 % of the micrographs. `read` is the file server, `infer` the card.",
        [
            (
                quantile(0.95, "livepick_stage_duration_seconds"),
                "{{stage}}",
            )
        ],
        unit="s",
        slow=True,
    ),
    curves(
        "Queue by stage",
        "settling: still being written; queued: complete; picking: with a worker.",
        [("livepick_queue_depth{@}", "{{stage}}")],
    ),
    curves(
        "Tried again, replaced, left out",
        "An hour: retries after an error, new content under a known name, and images that"
        " watch.include and its kin leave out.",
        [
            ("3600 * rate(livepick_retries_total{@}[$__rate_interval])", "retries"),
            (
                '3600 * rate(livepick_micrographs_total{state="superseded", @}[$__rate_interval])',
                "replaced",
            ),
            (
                '3600 * rate(livepick_micrographs_total{state="skipped", @}[$__rate_interval])',
                "left out",
            ),
        ],
        slow=True,
    ),
    curves(
        "From landing to picks",
        "Mean of the micrographs of the last minutes; the alert looks at the oldest that waits.",
        [
            (
                (
                    "rate(livepick_end_to_end_latency_seconds_sum{@}[$__rate_interval])"
                    " / rate(livepick_end_to_end_latency_seconds_count{@}[$__rate_interval])"
                ),
                "mean",
            )
        ],
        unit="s",
        slow=True,
    ),
]

_WORKERS = [
    curves(
        "Utilisation: busy workers",
        "At 100 % for long with a queue that grows, more workers or a faster card are needed.",
        [
            (
                (
                    'livepick_workers{state="busy", @}'
                    " / ignoring (state) sum without (state) (livepick_workers{@})"
                ),
                "",
            )
        ],
        unit="percentunit",
        most=1,
    ),
    curves(
        "Saturation: how long the oldest waits",
        "Since the oldest micrograph without picks landed; ten minutes are an alert.",
        [
            (
                OLDEST_WAITS,
                "",
            )
        ],
        unit="s",
    ),
    curves(
        "Errors: workers that died",
        "An hour. Two within a quarter of one are an alert; usually memory.",
        [("3600 * rate(livepick_worker_crashes_total{@}[$__rate_interval])", "")],
        slow=True,
    ),
]

_CARDS = [
    curves(
        "Utilisation: GPU at work",
        "Share of the time in which something ran on the card, of all programs. Empty without an"
        " NVIDIA driver, or without livepick's extra gpu.",
        [("livepick_gpu_busy_ratio{@}", "GPU {{gpu}}")],
        unit="percentunit",
        most=1,
    ),
    curves(
        "Saturation: GPU memory",
        "Used by all programs, and what there is. A training that finds no room fails.",
        [
            ("livepick_gpu_memory_used_bytes{@}", "GPU {{gpu}} used"),
            ("livepick_gpu_memory_size_bytes{@}", "GPU {{gpu}} in all"),
        ],
        unit="bytes",
    ),
    curves(
        "Errors: a GPU picks",
        "1 while CUDA runs the model; a fall to 0 that nobody wanted is an alert.",
        [('livepick_inference_provider_active{provider="CUDAExecutionProvider", @}', "")],
        most=1,
    ),
]

_DISKS = [
    curves(
        "Utilisation: free share",
        "A tenth is an alert. output: coordinates; state: ledger, models and runs.",
        [("livepick_disk_free_bytes{@} / livepick_disk_size_bytes{@}", "{{path_role}}")],
        unit="percentunit",
        most=1,
    ),
    curves(
        "Saturation: room that is left",
        "Bytes, as they fall.",
        [("livepick_disk_free_bytes{@}", "{{path_role}}")],
        unit="bytes",
    ),
    curves(
        "Errors: output and state take writes",
        "0 while picking waits for the output folder, or all for the ledger.",
        [("livepick_output_writable{@}", "output"), ("livepick_state_writable{@}", "state")],
        most=1,
    ),
]

_WATCHING = [
    curves(
        "Utilisation: duration of a listing",
        "Of the watched folders. Half of the interval is the most that it may take.",
        [
            ("livepick_scan_duration_seconds{@}", "listing"),
            ("livepick_rescan_interval_seconds{@}", "interval"),
        ],
        unit="s",
    ),
    curves(
        "Saturation: since the last listing",
        "More than three intervals are an alert.",
        [("time() - (livepick_last_scan_timestamp_seconds{@} > 0)", "")],
        unit="s",
    ),
    curves(
        "Errors: folders, overflows, restarts",
        "Folders that are there (1), and what went wrong with file events, an hour.",
        [
            ("livepick_watch_root_available{@}", "folder {{root}}"),
            ("3600 * rate(livepick_watch_overflows_total{@}[$__rate_interval])", "overflows"),
            ("3600 * rate(livepick_watch_restarts_total{@}[$__rate_interval])", "restarts"),
        ],
        slow=True,
    ),
    curves(
        "File events",
        "A minute, from the kernel. None on network file systems: those are polled.",
        [("60 * rate(livepick_watch_events_total{@}[$__rate_interval])", "{{type}}")],
    ),
    curves(
        "Gap between micrographs",
        "Median of the last 25; ten times as long without one is an alert.",
        [("livepick_micrograph_gap_seconds{@}", "")],
        unit="s",
    ),
    curves(
        "Calls of output.on_picked",
        "A minute, by outcome, and the micrographs that wait for a call. All 0 without a program.",
        [
            ("60 * rate(livepick_on_picked_calls_total{@}[$__rate_interval])", "{{outcome}}"),
            ("livepick_on_picked_waiting{@}", "waiting"),
        ],
        slow=True,
    ),
    curves(
        "Micrographs by state",
        "All that the session has seen, each once.",
        [("livepick_ledger_micrographs{@}", "{{state}}")],
    ),
]

_SERVICE = [
    figure(
        "Answers",
        "Whether Prometheus reaches it; two minutes without are an alert.",
        "up{@}",
        words={0: "no", 1: "yes"},
        scale=Scale(None, 1, good="red"),
        of_session=False,
    ),
    figure(
        "All parts get on",
        "As /healthz says; the watchdog of systemd acts on it.",
        "livepick_healthy{@}",
        words={0: "no", 1: "yes"},
        scale=Scale(None, 1, good="red"),
    ),
    figure(
        "GPU in use",
        "Whether CUDA runs the model.",
        'livepick_inference_provider_active{provider="CUDAExecutionProvider", @}',
        words={0: "no", 1: "yes"},
    ),
    figure(
        "Collecting",
        "Whether a session is under way.",
        "livepick_session_active{@}",
        words={0: "no", 1: "yes"},
    ),
    figure(
        "Waiting",
        "Micrographs without picks of the present model.",
        'livepick_queue_depth{stage="queued", @}',
    ),
    figure(
        "Workers",
        "How many there are.",
        "sum by (job, instance, instrument) (livepick_workers{@})",
    ),
    curves(
        "Scrape",
        "How long /metrics takes.",
        [("scrape_duration_seconds{@}", "")],
        unit="s",
        width=12,
    ),
    curves(
        "Series",
        "How many /metrics has; it does not grow with the session.",
        [("scrape_samples_post_metric_relabeling{@}", "")],
        width=12,
    ),
]


def pipeline_board() -> str:
    """Return the dashboard as JSON."""
    return board(
        "Pipeline",
        "Rate, errors and duration of each stage; use, saturation and errors of what they need.",
        {
            "Stages: rate, errors, duration": _BY_STAGE,
            "Workers: use, saturation, errors": _WORKERS,
            "GPUs: use, saturation, errors": _CARDS,
            "Disks: use, saturation, errors": _DISKS,
            "Watching: use, saturation, errors": _WATCHING,
            "Service": _SERVICE,
        },
        span="now-6h",
    )
