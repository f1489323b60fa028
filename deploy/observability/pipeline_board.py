"""Dashboard for the administrator of the machine: every stage, and the resources it needs."""

from observability.frame import board
from observability.panels import OLDEST_WAITS, Scale, curves, figure, quantile

__all__ = ["pipeline_board"]

_BY_STAGE = [
    curves(
        "Rate by stage",
        "Micrographs per minute that pass each stage of picking.",
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
        "Errors per hour, of micrographs, writes and trainings.",
        [("3600 * rate(livepick_errors_total{@}[$__rate_interval]) > 0", "{{stage}} {{reason}}")],
        slow=True,
    ),
    curves(
        "Duration by stage",
        "Time for 95 % of the micrographs. `read` depends on the file server, `infer` on the GPU.",
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
        "settling: still being written; queued: complete; picking: in a worker.",
        [("livepick_queue_depth{@}", "{{stage}}")],
    ),
    curves(
        "Retried, replaced, left out",
        "Per hour: retries after an error, new content of a known file, and images that"
        " watch.include and watch.exclude leave out.",
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
        "Left out, or not picked again",
        "Files that look like micrographs and are left out, by kind; micrographs that keep the"
        " picks of an older model because picking them again failed. livepick status names both.",
        [
            ("livepick_skipped_files{@}", "{{kind}}"),
            ("livepick_repick_failed_micrographs{@}", "not picked again"),
        ],
    ),
    curves(
        "From landing to picks",
        "Mean of the last minutes. The alert uses the oldest waiting micrograph instead.",
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
        "At 100 % with a growing queue, you need more workers or a faster GPU.",
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
        "Saturation: waiting time of the oldest",
        "Time since the oldest micrograph without picks landed; an alert fires after ten minutes.",
        [
            (
                OLDEST_WAITS,
                "",
            )
        ],
        unit="s",
    ),
    curves(
        "Workers of the cluster",
        "Only with a Dask cluster: workers that pick, and those that are refused or set aside; and"
        " micrographs per hour that were tried on another worker. livepick status says why.",
        [
            ("livepick_cluster_nodes{@}", "{{state}}"),
            (
                (
                    "3600 * sum without (reason)"
                    " (rate(livepick_cluster_retries_total{@}[$__rate_interval]))"
                ),
                "tried elsewhere",
            ),
        ],
        slow=True,
    ),
    curves(
        "Errors: workers that died",
        "Per hour. An alert fires if two die within 15 minutes; the usual cause is memory.",
        [("3600 * rate(livepick_worker_crashes_total{@}[$__rate_interval])", "")],
        slow=True,
    ),
]

_CARDS = [
    curves(
        "Utilisation: GPU at work",
        "Fraction of the time in which any program used the GPU. Empty without an NVIDIA driver,"
        " or without livepick's extra gpu.",
        [("livepick_gpu_busy_ratio{@}", "GPU {{gpu}}")],
        unit="percentunit",
        most=1,
    ),
    curves(
        "Saturation: GPU memory",
        "Memory used by all programs, and total. Training fails if there is not enough.",
        [
            ("livepick_gpu_memory_used_bytes{@}", "GPU {{gpu}} used"),
            ("livepick_gpu_memory_size_bytes{@}", "GPU {{gpu}} total"),
        ],
        unit="bytes",
    ),
    curves(
        "Errors: the GPU is in use",
        "1 while the GPU runs the model. An alert fires if it is 0 and a GPU was requested.",
        [('livepick_inference_provider_active{provider="CUDAExecutionProvider", @}', "")],
        most=1,
    ),
]

_DISKS = [
    curves(
        "Utilisation: free fraction",
        "An alert fires below a tenth. output: coordinates; state: ledger, models and runs.",
        [("livepick_disk_free_bytes{@} / livepick_disk_size_bytes{@}", "{{path_role}}")],
        unit="percentunit",
        most=1,
    ),
    curves(
        "Saturation: free space",
        "Free bytes.",
        [("livepick_disk_free_bytes{@}", "{{path_role}}")],
        unit="bytes",
    ),
    curves(
        "Errors: output and state are writable",
        "0 while picking waits for the output folder, or the service waits for the ledger.",
        [("livepick_output_writable{@}", "output"), ("livepick_state_writable{@}", "state")],
        most=1,
    ),
    curves(
        "Errors: files in the way",
        "Files in the output folder that livepick did not write, or that were edited afterwards."
        " They stay as they are, and livepick writes its own when they have gone.",
        [("livepick_output_obstacles{@}", "{{kind}}")],
    ),
]

_WATCHING = [
    curves(
        "Utilisation: duration of a listing",
        "Time to list the watched folders. It should be less than half of the interval.",
        [
            ("livepick_scan_duration_seconds{@}", "listing"),
            ("livepick_rescan_interval_seconds{@}", "interval"),
        ],
        unit="s",
    ),
    curves(
        "Saturation: since the last listing",
        "An alert fires after three intervals.",
        [("time() - (livepick_last_scan_timestamp_seconds{@} > 0)", "")],
        unit="s",
    ),
    curves(
        "Errors: folders, overflows, restarts",
        "Available folders (1), and problems with file events per hour.",
        [
            ("livepick_watch_root_available{@}", "folder {{root}}"),
            ("3600 * rate(livepick_watch_overflows_total{@}[$__rate_interval])", "overflows"),
            ("3600 * rate(livepick_watch_restarts_total{@}[$__rate_interval])", "restarts"),
        ],
        slow=True,
    ),
    curves(
        "File events",
        "Events per minute from the kernel. None on network file systems, which are polled.",
        [("60 * rate(livepick_watch_events_total{@}[$__rate_interval])", "{{type}}")],
    ),
    curves(
        "Interval between micrographs",
        "Median of the last 25. An alert fires after ten times this interval.",
        [("livepick_micrograph_gap_seconds{@}", "")],
        unit="s",
    ),
    curves(
        "Calls of output.on_picked",
        "Calls per minute by outcome, and micrographs that wait for a call. 0 without a program.",
        [
            ("60 * rate(livepick_on_picked_calls_total{@}[$__rate_interval])", "{{outcome}}"),
            ("livepick_on_picked_waiting{@}", "waiting"),
        ],
        slow=True,
    ),
    curves(
        "Micrographs by state",
        "All micrographs of the session.",
        [("livepick_ledger_micrographs{@}", "{{state}}")],
    ),
]

_SERVICE = [
    figure(
        "Responds",
        "Prometheus can reach the service; an alert fires after two minutes without.",
        "up{@}",
        words={0: "no", 1: "yes"},
        scale=Scale(None, 1, good="red"),
        of_session=False,
    ),
    figure(
        "Healthy",
        "As in /healthz; the watchdog of systemd uses it too.",
        "livepick_healthy{@}",
        words={0: "no", 1: "yes"},
        scale=Scale(None, 1, good="red"),
    ),
    figure(
        "GPU in use",
        "Yes if the GPU runs the model.",
        'livepick_inference_provider_active{provider="CUDAExecutionProvider", @}',
        words={0: "no", 1: "yes"},
    ),
    figure(
        "Collecting",
        "Yes while micrographs land.",
        "livepick_session_active{@}",
        words={0: "no", 1: "yes"},
    ),
    figure(
        "Waiting",
        "Micrographs without picks of the current model.",
        'livepick_queue_depth{stage="queued", @}',
    ),
    figure(
        "Workers",
        "Number of worker processes.",
        "sum by (job, instance, instrument) (livepick_workers{@})",
    ),
    curves(
        "Scrape",
        "Duration of a request of /metrics.",
        [("scrape_duration_seconds{@}", "")],
        unit="s",
        width=12,
    ),
    curves(
        "Series",
        "Number of series in /metrics; it does not grow with the session.",
        [("scrape_samples_post_metric_relabeling{@}", "")],
        width=12,
    ),
]


def pipeline_board() -> str:
    """Return the dashboard as JSON."""
    return board(
        "Pipeline",
        "Rate, errors and duration of each stage; use, saturation and errors of each resource.",
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
