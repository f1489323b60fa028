-- State of a session: all micrographs ever seen, their picks, and all training runs.
-- Its version is SCHEMA_VERSION in database.py; later changes are in schema_4.sql and so on.
--
-- States of a micrograph:
--
--     (landed)                  -> queued
--     (set aside by the watch)  -> failed
--     queued  -> picking           claimed; `attempt` is raised, so late results are refused
--     picking -> picked            its coordinates are on disk
--     picking -> failed            an error that another try will not fix
--     picking -> picked            the same, but it has picks of this content: it keeps them, and
--                                  `reason` says why it could not be picked again
--     picking -> queued            retry: error, dead worker, full disk, restart
--     picked  -> queued            for a newer model (the old picks stay until it has picked)
--     queued  -> picked            keeps its picks: the repicking was cancelled
--     any     -> queued            the file has new content (`content` is raised)

create table micrograph (
    id              integer primary key,
    root            text not null,                -- watched folder
    relative        text not null,                -- path below it
    size_bytes      integer not null,             -- size, mtime and inode identify the content
    mtime_ns        integer not null,
    inode           integer not null,             -- as a signed 64-bit number
    content         integer not null default 1,   -- number of contents that this path has had
    landed_at       real not null,                -- unix seconds, when this content was complete

    state           text not null
                    check (state in ('queued', 'picking', 'picked', 'failed')),
    priority        integer not null default 0,   -- 0: no picks yet; 1: for a newer model
    queued_at       real not null,
    not_before      real not null default 0,      -- unix seconds; a retry waits until then
    attempt         integer not null default 0,   -- claims so far, never reset
    tries           integer not null default 0,   -- retryable errors with this content
    crashes         integer not null default 0,   -- workers in a row that it ended or occupied
    interruptions   integer not null default 0,   -- ends of service or worker by something else
    changed_at      real not null,                -- unix seconds: last change of the state

    reason          text,                         -- why it, or picking it again, failed
    error           text,                         -- what happened
    remedy          text,                         -- what to do

    -- The result: all null until there is one. The candidates are in table picks.
    picked_content  integer,                      -- content that the picks belong to
    picked_at       real,
    model_version   integer,
    model_kind      text,
    threshold       real,                         -- lowest score of a pick
    pick_count      integer,                      -- candidates at or above the threshold
    pixel_size_angstrom real,
    height_px       integer,
    width_px        integer,
    masked_fraction real,
    median_score    real,
    -- core.imaging.quality.Quality describes these. Null: not known.
    score_p10       real,
    score_p90       real,
    occupied_fraction real,
    border_fraction real,
    contamination_fraction real,
    carbon_fraction real,
    noise_sigma     real,
    ice_gradient_sigmas real,
    contrast        real,
    skewness        real,
    mottle          real,
    uneven_fraction real,
    signal_fraction real,
    anisotropy      real,
    ice_ring        real,
    quality_verdict text check (quality_verdict in ('good', 'doubtful', 'bad')),
    quality_reason  text,                         -- in words; empty if good

    -- Figures that a CTF program wrote beside the micrograph, possibly after the picks.
    defocus_u_angstrom real,
    defocus_v_angstrom real,
    astigmatism_angle_degrees real,
    ctf_resolution_angstrom real,
    provider        text,
    read_seconds    real,
    preprocess_seconds real,
    infer_seconds   real,
    peaks_seconds   real,

    unique (root, relative),
    check (state <> 'failed' or reason is not null),
    check (state <> 'picked' or picked_content is not null)
) strict;

create index micrograph_by_state on micrograph (state, priority, queued_at, id);
create index micrograph_by_change on micrograph (changed_at);

create table picks (
    micrograph_id   integer primary key references micrograph (id) on delete cascade,
    candidates      blob not null                 -- Picks.to_bytes(): below the threshold too
) strict;

create table run (
    version         integer primary key,          -- same as in runs/NNNN and models/NNNN
    fingerprint     text not null,
    state           text not null
                    check (state in ('running', 'promoted', 'kept_aside', 'failed', 'superseded')),
    reason          text not null default '',     -- why it ended in this state
    started_at      real not null,
    ended_at        real,
    figures         text not null default '{}'    -- JSON object with the judgement of the gate
) strict;

create table setting (
    name            text primary key,
    value           text not null
) strict, without rowid;
