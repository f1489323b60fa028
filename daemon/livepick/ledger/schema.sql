-- The state of a session: every micrograph ever seen, its picks, and every training run.
-- Its version is SCHEMA_VERSION in database.py; later changes are in MIGRATIONS there.
--
-- A micrograph moves along
--
--     (landed)                  -> queued
--     (set aside by the watch)  -> failed
--     queued  -> picking           claimed; `attempt` is raised, and fences off what comes late
--     picking -> picked            its coordinates are on disk
--     picking -> failed            an error that trying again will not mend
--     picking -> queued            to be tried again: error, dead worker, full disk, restart
--     picked  -> queued            a newer model is there (the old picks stay until then)
--     queued  -> picked            it has picks, and is to keep them after all
--     any     -> queued            the file has new content (`content` is raised)

create table micrograph (
    id              integer primary key,
    root            text not null,                -- watched folder
    relative        text not null,                -- path below it
    size_bytes      integer not null,             -- size, mtime and inode: which content is meant
    mtime_ns        integer not null,
    inode           integer not null,             -- as a signed 64-bit number
    content         integer not null default 1,   -- counts the contents that this path has had
    landed_at       real not null,                -- unix seconds, when this content was complete

    state           text not null
                    check (state in ('queued', 'picking', 'picked', 'failed')),
    priority        integer not null default 0,   -- 0: has no picks yet; 1: by a newer model
    queued_at       real not null,
    not_before      real not null default 0,      -- unix seconds; a retry waits until then
    attempt         integer not null default 0,   -- claims so far, never set back
    tries           integer not null default 0,   -- retryable errors with this content
    crashes         integer not null default 0,   -- workers that died with it, one after the other
    interruptions   integer not null default 0,   -- ends of the service while it was being picked
    changed_at      real not null,                -- of the state

    reason          text,                         -- why it failed: LivepickError.reason
    error           text,                         -- what happened
    remedy          text,                         -- what to do

    -- The result, all null until there is one; its candidates are in table picks.
    picked_content  integer,                      -- content that the picks belong to
    picked_at       real,
    model_version   integer,
    model_kind      text,
    threshold       real,                         -- score from which on a candidate is a pick
    pick_count      integer,                      -- candidates from the threshold on
    pixel_size_angstrom real,
    height_px       integer,
    width_px        integer,
    masked_fraction real,
    median_score    real,
    -- What these are stands at core.quality.Quality; null is "not known", never a zero.
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

    -- What a program has measured and written beside; it may come after the picks.
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
    candidates      blob not null                 -- Picks.to_bytes(), also below the threshold
) strict;

create table run (
    version         integer primary key,          -- also of runs/NNNN and of the bundle to be
    fingerprint     text not null,
    state           text not null
                    check (state in ('running', 'promoted', 'kept_aside', 'failed', 'superseded')),
    reason          text not null default '',     -- why it ended so
    started_at      real not null,
    ended_at        real,
    figures         text not null default '{}'    -- JSON object: what the run measured
) strict;

create table setting (
    name            text primary key,
    value           text not null
) strict, without rowid;
