%%% What a table's server has carried and seen since it started: numbers that only grow.
%%%
%%% They are counted in place (`counters'), one atomic addition each, and belong to the server's process, which alone adds. The
%%% library counts writes, records, memory and messages by itself; here stands what happens in Erlang.
%%%
%%%     1> Counters = ferrets_counters:new(), ferrets_counters:add(syncs, 1, Counters).
%%%     2> maps:get(syncs, ferrets_counters:read(Counters)).
%%%     1
-module(ferrets_counters).

-export([new/0, add/3, get/2, read/1]).

-export_type([counters/0, name/0]).

-opaque counters() :: counters:counters_ref().
-type name() ::
    %% Flushes of the log, each of which went to all linked peers.
    batches
    | links_up
    | links_down
    %% Of these, how many because the peer owed an answer for too long.
    | stalls
    | refusals
    %% Linked servers that ended or were lost with their node.
    | servers_down
    | syncs
    %% Questions to `handle_conflict'.
    | conflicts_asked
    %% Leader operations that came here when another server was the leader.
    | wrong_leader
    %% Entries that a comparison has brought and that should have been here long ago.
    | diverged.

-spec new() -> counters().
new() ->
    counters:new(length(names()), []).

-spec add(name(), non_neg_integer(), counters()) -> ok.
add(Name, Number, Counters) ->
    counters:add(Counters, index(Name), Number).

-spec get(name(), counters()) -> non_neg_integer().
get(Name, Counters) ->
    counters:get(Counters, index(Name)).

-spec read(counters()) -> #{name() => non_neg_integer()}.
read(Counters) ->
    maps:from_list([{Name, get(Name, Counters)} || Name <- names()]).

-spec names() -> [name()].
names() ->
    [
        batches, links_up, links_down, stalls, refusals, servers_down, syncs, conflicts_asked, wrong_leader, diverged
    ].

-spec index(name()) -> pos_integer().
index(batches) -> 1;
index(links_up) -> 2;
index(links_down) -> 3;
index(stalls) -> 4;
index(refusals) -> 5;
index(servers_down) -> 6;
index(syncs) -> 7;
index(conflicts_asked) -> 8;
index(wrong_leader) -> 9;
index(diverged) -> 10.
