-- Version 7: history of the session; micrographs to which no CTF can be fitted, because of their
-- pixels or size; the threshold of the picks in class averages; and verdicts of people.

create table history (
    id              integer primary key,
    at              real not null,                -- unix seconds
    kind            text not null,                -- one word, such as session_ended
    who             text not null default '',     -- name of a person; empty: livepick
    sentence        text not null,
    key             text unique                   -- what is recorded only once; null: each time
) strict;

drop index micrograph_without_fit;

alter table micrograph rename column ctf_outcome to ctf_outcome_6;
alter table micrograph add column ctf_outcome text     -- of the fit here; null: not tried yet
    check (ctf_outcome in ('trusted', 'not_trusted', 'not_fitted', 'failed'));

-- Without a score, there was nothing to fit; null tries again, and gives the reason of now.
update micrograph set ctf_outcome = ctf_outcome_6
    where ctf_outcome_6 is not null and (ctf_outcome_6 != 'not_trusted' or ctf_score is not null);

alter table micrograph drop column ctf_outcome_6;

create index micrograph_without_fit on micrograph (id)
    where picked_content is not null and ctf_source is not 'program' and ctf_outcome is null;

alter table class_averages add column threshold real;  -- of the last picks; null: not recorded

create index micrograph_not_fitted on micrograph (ctf_reason) where ctf_outcome = 'not_fitted';

-- Verdict of a person, which overrules that of the figures in quality_verdict.
alter table micrograph add column person_verdict text
    check (person_verdict in ('excluded', 'included'));
alter table micrograph add column person_name text;
alter table micrograph add column person_at real;      -- unix seconds

create index micrograph_by_person on micrograph (id) where person_verdict is not null;
