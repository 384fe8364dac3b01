%%% What it costs to be bigger: more nodes, and more records.
%%%
%%% The figure of a contender is one of its own costs over another, so contenders are compared by how they grow and not by
%%% how fast they are.
-module(ferrets_bench_growth).

-export([rows/0]).
%% Run inside a node.
-export([write/3, grown/2]).

-import(ferrets_bench_timing, [each/3, timed/2]).

-define(TAB, grows).
-define(CALLERS, 100).
-define(FEW_NODES, 2).
-define(MANY_NODES, 5).
%% The larger table has so many times the records of the smaller one.
-define(TIMES, 100).

-type settings() :: ferrets_bench_group:settings().

-spec rows() -> [ferrets_bench_row:row()].
rows() ->
    [
        #{
            name => growth_nodes,
            what => "processor time per write and node, 5 nodes over 2 (linear in nodes: 1)",
            against => "mnesia `dirty_write`",
            unit => factor,
            compare => value,
            must => 1.2,
            measure => fun(Settings, _) -> measure_nodes(Settings) end
        },
        table_row(growth_insert, "`insert` into {huge} over one into a hundredth of them", insert),
        table_row(growth_lookup, "`lookup` in {huge} over one in a hundredth of them", lookup)
    ].

-spec table_row(atom(), string(), insert | lookup) -> ferrets_bench_row:row().
table_row(Name, What, Call) ->
    #{
        name => Name,
        what => What,
        against => "`ets` ordered_set",
        unit => factor,
        compare => value,
        must => 2.5,
        aim => 1.5,
        measure => fun(Settings, _) ->
            Node = ferrets_bench_node:start(),
            Results = ferrets_bench_node:call(Node, ?MODULE, grown, [Call, Settings]),
            ok = ferrets_bench_node:stop(Node),
            ferrets_bench_group:outcome(Results)
        end
    }.

%% ---------------------------------------------------------------- more nodes

-spec measure_nodes(settings()) -> ferrets_bench_row:outcome().
measure_nodes(#{few_rounds := Rounds} = Settings) ->
    Sides = ferrets_bench_group:contenders([ferrets, mnesia, cets], Settings),
    Growth = fun(Side) -> cost(Side, ?MANY_NODES, Settings) / cost(Side, ?FEW_NODES, Settings) end,
    ferrets_bench_group:outcome([{Side, [Growth(Side) || _ <- lists:seq(1, max(1, Rounds div 2))]} || Side <- Sides]).

%% Microseconds of processor time for each write, on each node.
-spec cost(ferrets_bench_table:contender(), pos_integer(), settings()) -> float().
cost(Side, Count, #{cluster_writes := Writes}) ->
    Nodes = [First | _] = ferrets_bench_cluster:start(lists:sublist([amber, birch, cedar, dahlia, elder], Count)),
    ok = ferrets_bench_cluster:open(Side, Nodes, ?TAB),
    Cpu = fun() -> lists:sum([ferrets_bench_node:call(Node, ferrets_bench_node, cpu_us, []) || Node <- Nodes]) end,
    ok = ferrets_bench_node:call(First, ?MODULE, write, [Side, Writes, 1]),
    Before = Cpu(),
    ok = ferrets_bench_node:call(First, ?MODULE, write, [Side, Writes, 4]),
    After = Cpu(),
    ok = ferrets_bench_cluster:stop(Nodes),
    (After - Before) / (4 * Writes) / Count.

%% So many writes, so many times over.
-spec write(ferrets_bench_table:contender(), pos_integer(), pos_integer()) -> ok.
write(Side, Writes, Times) ->
    Records = ferrets_bench_record:all_records(plain, Writes),
    Insert = ferrets_bench_table:call(Side, insert),
    Parts = [
        fun() -> [each(Insert, ?TAB, Part) || _ <- lists:seq(1, Times)] end
     || Part <- ferrets_bench_timing:chunks(Writes div ?CALLERS, Records)
    ],
    _ = ferrets_bench_timing:timed_callers(Side, Parts, Writes * Times),
    _ = (ferrets_bench_table:call(Side, drain))(?TAB, hd(Records)),
    ok.

%% ---------------------------------------------------------------- more records

-spec grown(insert | lookup, settings()) -> ferrets_bench_group:results().
grown(Call, #{huge := Huge, few_rounds := Rounds, reads := Operations}) ->
    Sizes = [Huge div ?TIMES, Huge],
    Tables = [{Side, [{open(Side, Size), Size} || Size <- Sizes]} || Side <- [ferrets, ets]],
    ferrets_bench_timing:rounds(2 * Rounds, Tables, fun(Side, [Small, Large]) ->
        cost_of_one(Side, Call, Large, Operations) / cost_of_one(Side, Call, Small, Operations)
    end).

-spec open(ferrets | ets, pos_integer()) -> atom().
open(Side, Size) ->
    Tab = list_to_atom(lists:concat([?TAB, $_, Side, $_, Size])),
    ok = ferrets_bench_table:open(Side, Tab, ordered_set),
    ferrets_bench_record:each_thousand(fun(Numbers) -> ok = ferrets_bench_table:fill(Side, Tab, plain, Numbers) end, Size),
    Tab.

-spec cost_of_one(ferrets | ets, insert | lookup, {atom(), pos_integer()}, pos_integer()) -> float().
cost_of_one(Side, Call, {Tab, Size}, Operations) ->
    Fun = ferrets_bench_table:call(Side, Call),
    Numbers = [rand:uniform(Size) || _ <- lists:seq(1, Operations)],
    %% In a loop's heap and not in `persistent_term', which they would fill in the long run: it costs all alike.
    List = case Call of
        lookup -> [ferrets_bench_record:key(plain, I) || I <- Numbers];
        insert -> ferrets_bench_record:records(plain, Numbers)
    end,
    timed(Side, fun() -> each(Fun, Tab, List) end).
