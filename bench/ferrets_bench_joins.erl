%%% Joins: two nodes whose tables become one, a pair that was cut apart, a fresh node that is filled; and growth.
%%%
%%% Each scenario has VMs of its own, since a join happens once. Only cets does the like, so without it there is nothing to
%%% compare with but ourselves: a rejoin stands beside the first join, a stall beside what the same writers see without a
%%% join, and a fresh node beside a fresh copy in mnesia.
-module(ferrets_bench_joins).

-behaviour(ferrets_bench_group).

-export([title/0, start/1, stop/1, rows/0]).

-import(ferrets_bench_node, [call/4, name/1]).

-define(TAB, joined).
-define(LOAD, ferrets_bench_join_load).
-define(WRITERS, 5).

-type settings() :: ferrets_bench_group:settings().
-type contender() :: ferrets_bench_table:contender().

-spec title() -> string().
title() -> "Joins".

-spec start(settings()) -> none.
start(_Settings) -> none.

-spec stop(none) -> ok.
stop(none) -> ok.

-spec rows() -> [ferrets_bench_row:row()].
rows() ->
    Join = "{big} + {big} disjoint records join",
    [
        row(join_stall, "longest stall any of 10 writers sees while " ++ Join, ms, {value, 20, 5}, fun join_stall/1),
        row(join_time, "time in which " ++ Join, ms, {speedup, 1, 2}, fun(Settings) -> join_time(idle, Settings) end),
        row(join_time_writers, "time in which " ++ Join ++ ", with 10 writers", ms, {speedup, 1, 2},
            fun(Settings) -> join_time(writing, Settings) end),
        row(join_peak_resident, "peak memory over the final size as " ++ Join ++ ", resident", factor,
            {value, 1.15, 1.05}, fun join_peak/1),
        row(rejoin_time, "rejoin, {big} identical but for 10: time", ms, {speedup, 10, 50}, fun rejoin_time/1),
        row(rejoin_bytes, "rejoin, {big} identical but for 10: bytes on the wire", bytes, {value, 2_000_000, 200_000},
            fun rejoin_bytes/1),
        row(fresh_bytes, "a fresh node joins three that hold {big}: bytes received, in tables", factor, {value, 1.1, 1.02},
            fun fresh_bytes/1)
    ] ++ ferrets_bench_growth:rows().

-spec row(atom(), string(), ferrets_bench_row:unit(), {atom(), number(), number()}, fun((settings()) -> term())) ->
    ferrets_bench_row:row().
row(Name, What, Unit, {Compare, Must, Aim}, Measure) ->
    #{
        name => Name,
        what => What,
        against => "cets",
        unit => Unit,
        compare => Compare,
        must => Must,
        aim => Aim,
        measure => fun(Settings, none) -> Measure(Settings) end
    }.

%% ---------------------------------------------------------------- two tables become one

-spec join_stall(settings()) -> ferrets_bench_row:outcome().
join_stall(Settings) ->
    Joins = compared({join, writing}, fun(Side) -> join(Side, writing, Settings) end, Settings),
    with_control(ferrets_bench_group:against_cets(Settings, pick(stall_ms, Joins)),
        "the same writers, no join: the machine's own pauses", pick_ours(calm_stall_ms, Joins)).

-spec join_time(idle | writing, settings()) -> ferrets_bench_row:outcome().
join_time(Writers, Settings) ->
    Joins = compared({join, Writers}, fun(Side) -> join(Side, Writers, Settings) end, Settings),
    ferrets_bench_group:against_cets(Settings, pick(time_ms, Joins)).

-spec join_peak(settings()) -> ferrets_bench_row:outcome().
join_peak(Settings) ->
    Joins = compared({join, idle}, fun(Side) -> join(Side, idle, Settings) end, Settings),
    ferrets_bench_group:against_cets(Settings, pick(peak, Joins)).

-type join() :: #{atom() => number()}.

-spec join(contender(), idle | writing, settings()) -> join().
join(Side, Writers, #{big := Size}) ->
    Nodes = [Amber, Birch] = ferrets_bench_cluster:start([amber, birch]),
    Bare = [call(Node, ?LOAD, weigh, []) || Node <- Nodes],
    [ok = call(Node, ?LOAD, fill, [Side, ?TAB, N * Size, Size]) || {N, Node} <- [{0, Amber}, {1, Birch}]],
    [ok = call(Node, ferrets_bench_node, settle, []) || Node <- Nodes],
    [ok = call(Node, ?LOAD, start_sampler, []) || Node <- Nodes],
    start_writers(Writers, Side, Nodes),
    Start = erlang:monotonic_time(microsecond),
    ok = ferrets_bench_cluster:join(Side, {Birch, ?TAB}, {Amber, ?TAB}),
    TimeMs = (erlang:monotonic_time(microsecond) - Start) / 1000,
    StallMs = stop_writers(Writers, Nodes),
    Peaks = [call(Node, ?LOAD, stop_sampler, []) || Node <- Nodes],
    start_writers(Writers, Side, Nodes),
    timer:sleep(round(TimeMs)),
    CalmMs = stop_writers(Writers, Nodes),
    [ok = call(Node, ferrets_bench_node, settle, []) || Node <- Nodes],
    Finals = [call(Node, ?LOAD, weigh, []) || Node <- Nodes],
    Sizes = [call(Node, ?LOAD, size, [Side, ?TAB]) || Node <- Nodes],
    true = lists:all(fun(Held) -> Held >= 2 * Size end, Sizes),
    ok = ferrets_bench_cluster:stop(Nodes),
    #{
        time_ms => TimeMs,
        stall_ms => StallMs,
        calm_stall_ms => CalmMs,
        peak => lists:max([(Peak - B) / (Final - B) || {B, Peak, Final} <- lists:zip3(Bare, Peaks, Finals)])
    }.

-spec start_writers(idle | writing, contender(), [ferrets_bench_node:bench_node()]) -> ok.
start_writers(idle, _Side, _Nodes) ->
    ok;
start_writers(writing, Side, Nodes) ->
    lists:foreach(fun(Node) -> ok = call(Node, ?LOAD, start_writers, [Side, ?TAB, ?WRITERS]) end, Nodes).

-spec stop_writers(idle | writing, [ferrets_bench_node:bench_node()]) -> number().
stop_writers(idle, _Nodes) -> 0;
stop_writers(writing, Nodes) -> lists:max([call(Node, ?LOAD, stop_writers, []) || Node <- Nodes]).

%% ---------------------------------------------------------------- a pair that was cut apart

-spec rejoin_time(settings()) -> ferrets_bench_row:outcome().
rejoin_time(Settings) ->
    Rejoins = compared(rejoin, fun(Side) -> rejoin(Side, Settings) end, Settings),
    with_control(ferrets_bench_group:against_cets(Settings, pick(time_ms, Rejoins)),
        "its own first join, with an empty table", pick_ours(first_ms, Rejoins)).

-spec rejoin_bytes(settings()) -> ferrets_bench_row:outcome().
rejoin_bytes(Settings) ->
    Rejoins = compared(rejoin, fun(Side) -> rejoin(Side, Settings) end, Settings),
    with_control(ferrets_bench_group:against_cets(Settings, pick(bytes, Rejoins)),
        "its own first join, with an empty table", pick_ours(first_bytes, Rejoins)).

%% The counters are those of a connection: a new one begins at nothing.
-spec rejoin(contender(), settings()) -> join().
rejoin(Side, #{big := Size}) ->
    Nodes = [Amber, Birch] = ferrets_bench_cluster:start([amber, birch]),
    ok = call(Amber, ?LOAD, fill, [Side, ?TAB, 0, Size]),
    ok = call(Birch, ?LOAD, fill, [Side, ?TAB, 0, 0]),
    {FirstMs, FirstBytes} = join_counted(Side, Birch, Amber),
    ok = call(Birch, ?LOAD, disconnect, [name(Amber), Side, ?TAB]),
    ok = call(Amber, ?LOAD, disconnect, [name(Birch), Side, ?TAB]),
    %% Five records that are new on each side.
    ok = call(Amber, ?LOAD, insert, [Side, ?TAB, 2 * Size, 5]),
    ok = call(Birch, ?LOAD, insert, [Side, ?TAB, 2 * Size + 5, 5]),
    ok = ferrets_bench_cluster:connect(Nodes),
    {Ms, Bytes} = join_counted(Side, Birch, Amber),
    Held = Size + 10,
    [Held, Held] = [call(Node, ?LOAD, size, [Side, ?TAB]) || Node <- Nodes],
    ok = ferrets_bench_cluster:stop(Nodes),
    #{time_ms => Ms, bytes => Bytes, first_ms => FirstMs, first_bytes => FirstBytes}.

-spec join_counted(contender(), ferrets_bench_node:bench_node(), ferrets_bench_node:bench_node()) ->
    {Ms :: float(), Bytes :: integer()}.
join_counted(Side, Joins, Joined) ->
    #{bytes_sent := Before} = ferrets_bench_cluster:wire([Joins, Joined]),
    Start = erlang:monotonic_time(microsecond),
    ok = ferrets_bench_cluster:join(Side, {Joins, ?TAB}, {Joined, ?TAB}),
    Ms = (erlang:monotonic_time(microsecond) - Start) / 1000,
    #{bytes_sent := After} = ferrets_bench_cluster:wire([Joins, Joined]),
    {Ms, After - Before}.

%% ---------------------------------------------------------------- a fresh node

-spec fresh_bytes(settings()) -> ferrets_bench_row:outcome().
fresh_bytes(#{big := Size} = Settings) ->
    Sides = ferrets_bench_group:contenders([ferrets, cets, mnesia], Settings),
    Outcome = ferrets_bench_group:against_cets(Settings, [{Side, [fresh(Side, Size)]} || Side <- Sides]),
    Outcome#{notes => ["A table's size on the wire is that of its records by `term_to_binary/1`, one by one."]}.

-spec fresh(contender(), pos_integer()) -> float().
fresh(Side, Size) ->
    Nodes = [First | Others] = ferrets_bench_cluster:start([amber, birch, cedar]),
    ok = ferrets_bench_cluster:open(Side, Nodes, ?TAB),
    ok = call(First, ?LOAD, insert, [Side, ?TAB, 0, Size]),
    OneTable = call(First, ?LOAD, wire_size, [0, Size]),
    [Fresh] = ferrets_bench_cluster:start([dahlia]),
    ok = ferrets_bench_cluster:connect([Fresh | Nodes]),
    #{bytes_received := Before} = ferrets_bench_cluster:wire([Fresh]),
    ok = ferrets_bench_cluster:add(Side, Fresh, First, ?TAB),
    #{bytes_received := After} = ferrets_bench_cluster:wire([Fresh]),
    Size = call(Fresh, ?LOAD, size, [Side, ?TAB]),
    ok = ferrets_bench_cluster:stop([Fresh, First | Others]),
    (After - Before) / OneTable.

%% ---------------------------------------------------------------- outcomes

-spec compared(term(), fun((contender()) -> join()), settings()) -> [{contender(), [join()]}].
compared(Key, Scenario, #{few_rounds := Rounds} = Settings) ->
    Sides = ferrets_bench_group:contenders([ferrets, cets], Settings),
    ferrets_bench_group:once({?MODULE, Key}, fun() ->
        Runs = [[Scenario(Side) || Side <- Sides] || _ <- lists:seq(1, max(1, Rounds div 2))],
        [{Side, [lists:nth(N, Run) || Run <- Runs]} || {N, Side} <- lists:zip(lists:seq(1, length(Sides)), Sides)]
    end).

-spec pick(term(), [{contender(), [join()]}]) -> ferrets_bench_group:results().
pick(Key, Compared) ->
    [{Side, [maps:get(Key, Join) || Join <- Joins]} || {Side, Joins} <- Compared].

-spec pick_ours(term(), [{contender(), [join()]}]) -> ferrets_bench_row:sample().
pick_ours(Key, Compared) ->
    {ferrets, Sample} = lists:keyfind(ferrets, 1, pick(Key, Compared)),
    Sample.

-spec with_control(ferrets_bench_row:outcome(), string(), ferrets_bench_row:sample()) -> ferrets_bench_row:outcome().
with_control(#{others := Others} = Outcome, Name, Sample) ->
    Outcome#{others := Others ++ [{Name, Sample}]}.
