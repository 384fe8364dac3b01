%%% Where the time of one look-up goes: calls that do more and more of it, each beside what `ets' has for it.
%%%
%%% No targets: this is for who wants to make it faster. What one row takes more than the one above is the price of what it
%%% does more. It calls the native library directly where the public functions would add to it.
-module(ferrets_bench_hot_path).

-behaviour(ferrets_bench_group).

-export([title/0, start/1, stop/1, rows/0]).
%% Run inside the node.
-export([run/3, nothing/2]).

-import(ferrets_bench_table, [filled/4]).
-import(ferrets_bench_timing, [rounds/2, each/3, repeat/2]).

-type settings() :: ferrets_bench_group:settings().
%% Which table, and which keys: one key over and over, all in random order, or none that is there.
-type ground() :: {set | ordered_set, ferrets_bench_record:kind(), one | hits | absent}.

-spec title() -> string().
title() -> "Hot path: one look-up, step by step".

-spec start(settings()) -> ferrets_bench_node:bench_node().
start(_Settings) ->
    ferrets_bench_node:start().

-spec stop(ferrets_bench_node:bench_node()) -> ok.
stop(Node) ->
    ferrets_bench_node:stop(Node).

-spec rows() -> [ferrets_bench_row:row()].
rows() ->
    [
        row(hot_call, "a NIF that does nothing", "an Erlang function that does nothing", {set, plain, one}, call),
        row(hot_size, "+ finds the table by its name: `size`", "`ets:info(_, size)`", {set, plain, one}, size),
        row(hot_member_one_absent, "+ hashes a key, looks into the index: `member`, an absent key", "`ets:member`",
            {set, plain, absent}, member),
        row(hot_member_one, "+ finds the record, compares keys: `member`, the same key again", "`ets:member`",
            {set, plain, one}, member),
        row(hot_lookup_one, "+ copies the record: `lookup`, the same key again", "`ets:lookup`", {set, plain, one}, lookup),
        row(hot_lookup_set, "+ waits for memory: `lookup`, random keys of {big}, `set`", "`ets:lookup`",
            {set, plain, hits}, lookup),
        row(hot_lookup_ordered, "the same, `ordered_set`", "`ets:lookup`", {ordered_set, plain, hits}, lookup),
        row(hot_member_set, "`member`, random keys of {big}, `set`", "`ets:member`", {set, plain, hits}, member),
        row(hot_member_ordered, "`member`, random keys of {big}, `ordered_set`", "`ets:member`",
            {ordered_set, plain, hits}, member),
        row(hot_api, "`ferrets:lookup` instead of `ferrets_nif:lookup`, the same key again", "`ets:lookup`",
            {set, plain, one}, api_lookup),
        row(hot_copy_10k, "`lookup` of a 10 KB-term record", "`ets:lookup`", {set, term_10k, one}, lookup),
        row(hot_element_10k, "`lookup_element` of its key", "`ets:lookup_element`", {set, term_10k, one}, element)
    ].

-spec row(atom(), string(), string(), ground(), atom()) -> ferrets_bench_row:row().
row(Name, What, Against, Ground, Step) ->
    #{
        name => Name,
        what => What,
        against => Against,
        unit => ns,
        compare => share,
        measure => fun(Settings, Node) -> ferrets_bench_node:call(Node, ?MODULE, run, [Ground, Step, Settings]) end
    }.

-spec run(ground(), atom(), settings()) -> ferrets_bench_row:outcome().
run({Type, Kind, Keys}, Step, #{rounds := Rounds, reads := Reads} = Settings) ->
    Size = size_of(Kind, Settings),
    List = fun(Round) -> keys(Keys, Kind, Size, Reads, Round) end,
    Times = max(1, Reads div length(List(0))),
    ferrets_bench_group:outcome(rounds(Rounds, [
        begin
            Tab = filled(Side, Type, Kind, Size),
            Fun = step(Step, Side),
            {Side, fun(Round) -> repeat(Times, fun() -> each(Fun, Tab, List(Round)) end) end}
        end
     || Side <- [ferrets, ets]
    ])).

-spec size_of(ferrets_bench_record:kind(), settings()) -> pos_integer().
size_of(plain, #{big := Size}) -> Size;
size_of(term_10k, _) -> 100.

-spec keys(one | hits | absent, ferrets_bench_record:kind(), Size, Count, Round) -> [term(), ...] when
    Size :: pos_integer(), Count :: pos_integer(), Round :: non_neg_integer().
%% One key a thousand times, so that the loop is the same as for others.
keys(one, Kind, _, _, _) ->
    ferrets_bench_record:kept({one, Kind}, fun() -> lists:duplicate(1_000, ferrets_bench_record:key(Kind, 1)) end);
keys(absent, Kind, _, _, _) ->
    ferrets_bench_record:kept({absent, Kind}, fun() -> lists:duplicate(1_000, ferrets_bench_record:key(Kind, -1)) end);
keys(hits, Kind, Size, Reads, Round) ->
    ferrets_bench_record:keys(Kind, Size, min(Size, Reads), Round).

-spec step(atom(), ferrets | ets) -> ferrets_bench_table:call().
step(call, ferrets) -> fun(_, _) -> ferrets_nif:abi() end;
step(call, ets) -> fun ?MODULE:nothing/2;
step(size, ferrets) -> fun(Tab, _) -> ferrets_nif:size(Tab) end;
step(size, ets) -> fun(Tab, _) -> ets:info(Tab, size) end;
step(member, ferrets) -> fun ferrets_nif:member/2;
step(member, ets) -> fun ets:member/2;
step(lookup, ferrets) -> fun ferrets_nif:lookup/2;
step(api_lookup, ferrets) -> fun ferrets:lookup/2;
step(element, ferrets) -> fun(Tab, Key) -> ferrets:lookup_element(Tab, Key, 1) end;
step(element, ets) -> fun(Tab, Key) -> ets:lookup_element(Tab, Key, 1) end;
step(_, ets) -> fun ets:lookup/2.

-spec nothing(atom(), term()) -> ok.
nothing(_Tab, _Key) -> ok.
