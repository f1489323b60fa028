-- Version 7: history of the session.

create table history (
    id              integer primary key,
    at              real not null,                -- unix seconds
    kind            text not null,                -- one word, such as session_ended
    who             text not null default '',     -- name of a person; empty: livepick
    sentence        text not null,
    key             text unique                   -- what is recorded only once; null: each time
) strict;
