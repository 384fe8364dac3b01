%%% Three nodes that share a table: three VMs on one machine, connected over loopback.
%%%
%%% All callers are on one node, and overwrite records of a table that all contenders have, side by side in the same VMs. A
%%% throughput counts until the last write is everywhere: mnesia's `dirty_write' returns before, and what it has put off is
%%% work as well. Two cores carry all three nodes, so what is measured is work rather than waiting.
-module(ferrets_bench_three_nodes).

-behaviour(ferrets_bench_group).

-export([title/0, start/1, stop/1, rows/0]).
%% Run inside a node.
-export([insert_latency/3, insert_throughput/3, insert_many/4, insert_new/3, insert_once/3, leader/2]).

-import(ferrets_bench_table, [call/2]).
-import(ferrets_bench_timing, [rounds/3, each/3, each_timed/3, chunks/2]).
-import(ferrets_bench_group, [contenders/2]).

-define(TAB, bench_shared).
-define(SIDES, [ferrets, cets, mnesia_sync]).

-type settings() :: ferrets_bench_group:settings().
-type nodes() :: [ferrets_bench_node:bench_node()].

-spec title() -> string().
title() -> "Three nodes, loopback".

-spec start(settings()) -> nodes().
start(Settings) ->
    Nodes = ferrets_bench_cluster:start([amber, birch, cedar]),
    [ok = ferrets_bench_cluster:open(Side, Nodes, tab(Side)) || Side <- contenders([ferrets, cets, mnesia], Settings)],
    Nodes.

-spec stop(nodes()) -> ok.
stop(Nodes) ->
    ferrets_bench_cluster:stop(Nodes).

-spec tab(ferrets_bench_table:contender()) -> atom().
tab(mnesia_sync) -> tab(mnesia);
tab(Side) -> list_to_atom(lists:concat([?TAB, "_", Side])).

-spec rows() -> [ferrets_bench_row:row()].
rows() ->
    [
        row(insert_alone, "`insert`, 1 caller, median latency", ns, {share, 1, 0.7}, latency(1, 0.5, ?SIDES)),
        row(insert_100, "`insert`, 100 callers", per_second, {speedup, 4, 8}, throughput(100, ?SIDES)),
        row(insert_1000, "`insert`, 1,000 callers", per_second, {speedup, 5, 10}, throughput(1000, ?SIDES)),
        row(insert_p99, "`insert`, 100 callers, p99 latency", ns, {share, 0.4, 0.2}, latency(100, 0.99, ?SIDES)),
        row(insert_many_100, "`insert_many` of 100, 10 callers, records", per_second, {speedup, 1, 1.5}, many(100)),
        row(insert_many_1000, "`insert_many` of 1,000, 10 callers, records", per_second, {speedup, 1, 1.5}, many(1000)),
        row(insert_new, "`insert_new`, 100 callers on another node than the leader's", per_second, {speedup, 3, 6},
            fun measure_insert_new/2),
        (row(insert_100_mnesia, "`insert`, 100 callers", per_second, {speedup, 4, 8}, fun(Settings, [First | _]) ->
            Results = ferrets_bench_node:call(First, ?MODULE, insert_throughput, [100, [ferrets, mnesia], Settings]),
            ferrets_bench_group:against(mnesia, Results)
        end))#{against := "mnesia `dirty_write`, 3 ram_copies"},
        row(messages, "messages between nodes per 1,000 inserts at 1,000 callers", count, {value, 100, 40},
            fun measure_messages/2)
    ].

-spec row(atom(), string(), ferrets_bench_row:unit(), {atom(), number(), number()}, fun()) -> ferrets_bench_row:row().
row(Name, What, Unit, {Compare, Must, Aim}, Measure) ->
    #{
        name => Name,
        what => What,
        against => "cets",
        unit => Unit,
        compare => Compare,
        must => Must,
        aim => Aim,
        measure => Measure
    }.

%% ---------------------------------------------------------------- from outside

-spec latency(pos_integer(), float(), [ferrets_bench_table:contender()]) -> fun().
latency(Callers, Part, Sides) ->
    in_first_node(insert_latency, [{Callers, Part}, Sides]).

-spec throughput(pos_integer(), [ferrets_bench_table:contender()]) -> fun().
throughput(Callers, Sides) ->
    in_first_node(insert_throughput, [Callers, Sides]).

-spec many(pos_integer()) -> fun().
many(Length) ->
    in_first_node(insert_many, [10, Length, ?SIDES]).

-spec in_first_node(atom(), [term()]) -> fun().
in_first_node(Function, Args) ->
    fun(Settings, [First | _]) ->
        ferrets_bench_group:against_cets(Settings, ferrets_bench_node:call(First, ?MODULE, Function, Args ++ [Settings]))
    end.

%% The callers are on a node that leads for no contender.
-spec measure_insert_new(settings(), nodes()) -> ferrets_bench_row:outcome().
measure_insert_new(Settings, [First | _] = Nodes) ->
    Leaders = [
        ferrets_bench_node:call(First, ?MODULE, leader, [Side, tab(Side)])
     || Side <- contenders([ferrets, cets], Settings)
    ],
    [Node | _] = [Node || Node <- Nodes, not lists:member(ferrets_bench_node:name(Node), Leaders)],
    Results = ferrets_bench_node:call(Node, ?MODULE, insert_new, [100, ?SIDES, Settings]),
    #{others := Others} = Outcome = ferrets_bench_group:against_cets(Settings, Results),
    {value, {_, Mnesia}, Cets} = lists:keytake(ferrets_bench_table:title(mnesia_sync), 1, Others),
    Outcome#{others := Cets ++ [{"mnesia `transaction`: read, then write if absent", Mnesia}]}.

-spec measure_messages(settings(), nodes()) -> ferrets_bench_row:outcome().
measure_messages(#{few_rounds := Rounds, cluster_writes := Writes} = Settings, [First | _] = Nodes) ->
    Sides = contenders([ferrets, cets, mnesia, mnesia_sync], Settings),
    Results = rounds(Rounds, [{Side, Side} || Side <- Sides], fun(Side, Side) ->
        #{messages_sent := Before} = ferrets_bench_cluster:wire(Nodes),
        ok = ferrets_bench_node:call(First, ?MODULE, insert_once, [1000, Side, Settings]),
        #{messages_sent := After} = ferrets_bench_cluster:wire(Nodes),
        (After - Before) * 1000 / Writes
    end),
    ferrets_bench_group:against_cets(Settings, Results).

%% ---------------------------------------------------------------- inside a node

-spec records(settings()) -> [tuple()].
records(#{cluster_writes := Writes}) ->
    ferrets_bench_record:all_records(plain, Writes).

%% One part for each caller.
-spec parts(pos_integer(), [X]) -> [[X]].
parts(Callers, List) ->
    chunks(length(List) div Callers, List).

%% Nanoseconds within which this part of the inserts was done.
-spec insert_latency({Callers :: pos_integer(), Part :: float()}, [ferrets_bench_table:contender()], settings()) ->
    ferrets_bench_group:results().
insert_latency({Callers, Part}, Sides, #{cluster_writes := Writes} = Settings) ->
    Records = lists:sublist(records(Settings), max(Writes div 10, min(Writes, 100 * Callers))),
    rounds(latency_rounds(Callers, Settings), works(Sides, insert, Settings), fun(Side, {Insert, Tab}) ->
        Callings = [fun() -> each_timed(Insert, Tab, Own) end || Own <- parts(Callers, Records)],
        {_, Times} = ferrets_bench_timing:latencies(Side, Callings, length(Records)),
        drain(Side, Tab, Records),
        ferrets_bench_timing:percentile(Part, lists:append(Times))
    end).

%% A lone write waits for VMs to be woken, which takes 60 us in all or twice that, for anybody, as the kernel has just laid them on
%% the cores: a few rounds would tell of that.
-spec latency_rounds(pos_integer(), settings()) -> pos_integer().
latency_rounds(1, #{many_rounds := Many}) -> Many;
latency_rounds(_Callers, #{rounds := Rounds}) -> Rounds.

-spec insert_throughput(pos_integer(), [ferrets_bench_table:contender()], settings()) -> ferrets_bench_group:results().
insert_throughput(Callers, Sides, #{rounds := Rounds} = Settings) ->
    Records = records(Settings),
    rounds(Rounds, works(Sides, insert, Settings), fun(Side, {Insert, Tab}) ->
        Callings = [fun() -> each(Insert, Tab, Own) end || Own <- parts(Callers, Records)],
        per_second(Side, Tab, Callings, Records)
    end).

-spec insert_many(pos_integer(), pos_integer(), [ferrets_bench_table:contender()], settings()) ->
    ferrets_bench_group:results().
insert_many(Callers, Length, Sides, #{few_rounds := Few} = Settings) ->
    Records = records(Settings),
    Lists = ferrets_bench_record:kept({lists, Length}, fun() -> chunks(Length, Records) end),
    rounds(Few + 1, works(Sides, insert_many, Settings), fun(Side, {InsertMany, Tab}) ->
        Callings = [fun() -> each(InsertMany, Tab, Own) end || Own <- chunks(max(1, length(Lists) div Callers), Lists)],
        per_second(Side, Tab, Callings, Records)
    end).

%% Each round has keys of its own.
-spec insert_new(pos_integer(), [ferrets_bench_table:contender()], settings()) -> ferrets_bench_group:results().
insert_new(Callers, Sides, #{few_rounds := Few, cluster_writes := Writes} = Settings) ->
    rounds(Few + 1, works(Sides, insert_new, Settings), fun(Side, {InsertNew, Tab}) ->
        Round = erlang:unique_integer([positive]),
        Records = [{{new, Round, I}, <<I:512>>} || I <- lists:seq(1, Writes div 5)],
        Callings = [fun() -> each(InsertNew, Tab, Own) end || Own <- parts(Callers, Records)],
        per_second(Side, Tab, Callings, Records)
    end).

-spec insert_once(pos_integer(), ferrets_bench_table:contender(), settings()) -> ok.
insert_once(Callers, Side, Settings) ->
    Records = records(Settings),
    [{Side, {Insert, Tab}}] = works([Side], insert, Settings),
    Callings = [fun() -> each(Insert, Tab, Own) end || Own <- parts(Callers, Records)],
    _ = per_second(Side, Tab, Callings, Records),
    ok.

-spec works([ferrets_bench_table:contender()], atom(), settings()) ->
    [{ferrets_bench_table:contender(), {ferrets_bench_table:call(), atom()}}].
works(Sides, Call, Settings) ->
    [{Side, {call(Side, Call), tab(Side)}} || Side <- contenders(Sides, Settings)].

-spec per_second(ferrets_bench_table:contender(), atom(), [fun(() -> term())], [tuple()]) -> float().
per_second(Side, Tab, Callings, Records) ->
    NsEach = ferrets_bench_timing:timed_callers(Side, Callings, length(Records)),
    NsDrain = drain(Side, Tab, Records),
    1.0e9 / (NsEach + NsDrain / length(Records)).

%% How many nanoseconds it takes until what was written is everywhere.
-spec drain(ferrets_bench_table:contender(), atom(), [tuple()]) -> float().
drain(Side, Tab, [Record | _]) ->
    Drain = call(Side, drain),
    ferrets_bench_timing:timed(Side, fun() -> _ = Drain(Tab, Record), 1 end).

-spec leader(ferrets | cets, atom()) -> node().
leader(ferrets, Tab) -> node(ferrets:get_leader(Tab));
leader(cets, Tab) -> node(cets:get_leader(Tab)).
