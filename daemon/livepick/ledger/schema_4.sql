-- Version 4: indexes, so that no query of the dispatch loop, the page or the metrics reads all rows.

drop index micrograph_by_change;
create index micrograph_by_change on micrograph (changed_at, id);
create index micrograph_by_landing on micrograph (landed_at);
create index micrograph_by_picking on micrograph (picked_at, pick_count);

-- Counts by state, verdicts, and the sum of the picks.
create index micrograph_totals
    on micrograph (state, quality_verdict, pick_count, picked_content, content);

create index micrograph_repick_failed on micrograph (changed_at, id)
    where state = 'picked' and reason is not null;

-- Rows of these kinds are few most of the time.
create index micrograph_failed on micrograph (changed_at, id) where state = 'failed';
create index micrograph_suspect on micrograph (not_before) where state = 'queued' and crashes > 0;
create index micrograph_late on micrograph (not_before)
    where state in ('failed', 'picked') and not_before > 0;
create index micrograph_waiting on micrograph (landed_at)
    where state in ('queued', 'picking') and picked_content is not content;

-- What was odd about a file that was read all the same.
alter table micrograph add column note_kinds text;  -- kinds of core.formats.header.Note, with commas
alter table micrograph add column notes text;       -- the notes in words; null if there are none
create index micrograph_noted on micrograph (note_kinds) where note_kinds is not null;
