-- Version 7: history of the session; micrographs to which no CTF can be fitted, because of their
-- pixels or size; and the threshold of the picks in class averages.

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
