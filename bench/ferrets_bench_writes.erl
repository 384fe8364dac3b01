%%% Writes on one node, without peers, and readers beside a writer.
%%%
%%% What is written over a record is another copy of it, so tables stay what they are. `ets' itself is measured beside the
%%% others: it is what none that offers more can be faster than, one would think.
-module(ferrets_bench_writes).

-export([rows/0]).
%% Run inside the node.
-export([overwrite/3, fill/1, insert_many/1, readers/1]).

-import(ferrets_bench_table, [call/2, filled/4]).
-import(ferrets_bench_timing, [rounds/2, rounds/3, each/3, repeat/2, timed_callers/3]).

-define(SIDES, [ferrets, cets, server, mnesia, ets]).
-define(CALLERS, 100).
-define(LIST_LENGTH, 1_000).

-spec rows() -> [ferrets_bench_row:row()].
rows() ->
    [
        row(insert_big, "`insert`, no peers, 1 caller, overwriting in {big}", 2.5, 4,
            fun(#{big := Size}) -> {overwrite, [Size, 1]} end),
        row(insert_big_100, "`insert`, no peers, 100 callers, overwriting in {big}", 2.5, 4,
            fun(#{big := Size}) -> {overwrite, [Size, ?CALLERS]} end),
        row(insert_small, "`insert`, no peers, 1 caller, overwriting in {small}", 2.5, 4,
            fun(#{small := Size}) -> {overwrite, [Size, 1]} end),
        row(insert_new_keys, "`insert`, no peers, 1 caller, new keys, from an empty table to {writes}", 2.5, 4,
            fun(_) -> {fill, []} end),
        row(insert_many, "`insert_many` of 1,000, no peers, overwriting in {big}", 1, 1.5, fun(_) -> {insert_many, []} end),
        #{
            name => readers,
            what => "longest of {reads} `lookup`s while one writer runs, {big}",
            against => "`ets` ordered_set",
            unit => ns,
            compare => value,
            must => 1_000_000,
            measure => fun(Settings, Node) -> ferrets_bench_node:call(Node, ?MODULE, readers, [Settings]) end
        }
    ].

-spec row(atom(), string(), number(), number(), fun((map()) -> {atom(), list()})) -> ferrets_bench_row:row().
row(Name, What, Must, Aim, Work) ->
    #{
        name => Name,
        what => What,
        against => "cets",
        unit => ns,
        compare => speedup,
        must => Must,
        aim => Aim,
        measure => fun(Settings, Node) ->
            {Function, Args} = Work(Settings),
            Results = ferrets_bench_node:call(Node, ?MODULE, Function, Args ++ [Settings]),
            ferrets_bench_group:against_cets(Settings, Results)
        end
    }.

-spec overwrite(pos_integer(), Callers :: pos_integer(), ferrets_bench_group:settings()) -> ferrets_bench_group:results().
overwrite(Size, Callers, #{rounds := Rounds, writes := Writes} = Settings) ->
    Distinct = min(Size, Writes),
    Records = ferrets_bench_record:kept({to_write, Size, Distinct}, fun() ->
        ferrets_bench_record:records(plain, lists:sublist(ferrets_bench_record:order(Size), Distinct))
    end),
    Times = Writes div Distinct,
    Works = [
        {Side, call(Side, insert), filled(Side, ordered_set, plain, Size)}
     || Side <- ferrets_bench_group:contenders(?SIDES, Settings)
    ],
    case Callers of
        1 ->
            rounds(Rounds, [
                {Side, fun(_) -> repeat(Times, fun() -> each(Insert, Tab, Records) end) end}
             || {Side, Insert, Tab} <- Works
            ]);
        _ ->
            Parts = ferrets_bench_timing:chunks(Writes div Callers, Records),
            rounds(
                Rounds,
                [{Side, [fun() -> each(Insert, Tab, Part) end || Part <- Parts]} || {Side, Insert, Tab} <- Works],
                fun(Side, Callings) -> timed_callers(Side, Callings, Distinct) end
            )
    end.

%% Each round has a new table.
-spec fill(ferrets_bench_group:settings()) -> ferrets_bench_group:results().
fill(#{rounds := Rounds, writes := Size} = Settings) ->
    Records = ferrets_bench_record:all_records(plain, Size),
    Works = [{Side, call(Side, insert)} || Side <- ferrets_bench_group:contenders(?SIDES, Settings)],
    rounds(Rounds, Works, fun(Side, Insert) ->
        Tab = list_to_atom("filling_" ++ atom_to_list(Side)),
        ok = ferrets_bench_table:open(Side, Tab, ordered_set),
        Ns = ferrets_bench_timing:timed(Side, fun() -> each(Insert, Tab, Records) end),
        ok = ferrets_bench_table:close(Side, Tab),
        Ns
    end).

%% Nanoseconds for a record, not for a list.
-spec insert_many(ferrets_bench_group:settings()) -> ferrets_bench_group:results().
insert_many(#{rounds := Rounds, writes := Writes, big := Size} = Settings) ->
    Lists = ferrets_bench_record:lists_of_records(plain, Size, Writes div ?LIST_LENGTH, ?LIST_LENGTH),
    rounds(Rounds, [
        begin
            Tab = filled(Side, ordered_set, plain, Size),
            InsertMany = call(Side, insert_many),
            {Side, fun(_) -> ?LIST_LENGTH * each(InsertMany, Tab, Lists) end}
        end
     || Side <- ferrets_bench_group:contenders(?SIDES, Settings)
    ]).

%% ---------------------------------------------------------------- readers beside a writer

%% One reader, since with more processes than cores a reader also waits for its turn. Others' programs make it wait as
%% well: so a third contender reads nothing, and what it waits is the machine's.
-spec readers(ferrets_bench_group:settings()) -> ferrets_bench_row:outcome().
readers(#{rounds := Rounds, reads := Reads, big := Size}) ->
    Keys = ferrets_bench_record:keys(plain, Size, min(Size, Reads), 0),
    Records = ferrets_bench_record:lists_of_records(plain, Size, 1, min(Size, Reads)),
    Works = [
        {Side, {call(Side, lookup), call(Side, insert), filled(Side, ordered_set, plain, Size)}}
     || Side <- [ferrets, ets]
    ] ++ [{nothing, {fun read_nothing/2, call(ets, insert), filled(ets, ordered_set, plain, Size)}}],
    [{ferrets, Ours}, {ets, Ets}, {nothing, Nothing}] = rounds(Rounds, Works, fun(Label, {Lookup, Insert, Tab}) ->
        read_beside_writer(Label, Lookup, Insert, Tab, Keys, Records)
    end),
    #{
        ours => longest(Ours),
        others => [{"`ets`", longest(Ets)}, {"reading nothing: the machine's own pauses", longest(Nothing)}],
        notes => [
            lists:flatten(io_lib:format(
                "Beside a writer, ~s: median read ~b ns, 99.9 % within ~b ns, ~b of ~b over 1 ms",
                [Name, round(part(0.5, Figures)), round(part(0.999, Figures)), over(Figures), count(Figures)]
            ))
         || {Name, Figures} <- [{"ferrets", Ours}, {"`ets`", Ets}, {"nothing", Nothing}]
        ]
    }.

-type seen() :: #{longest := integer(), median := integer(), p999 := integer(), over := integer(), count := integer()}.

-spec longest([seen()]) -> ferrets_bench_row:sample().
longest(Rounds) -> [Longest || #{longest := Longest} <- Rounds].

-spec part(float(), [seen()]) -> number().
part(0.5, Rounds) -> ferrets_bench_row:median([Ns || #{median := Ns} <- Rounds]);
part(0.999, Rounds) -> ferrets_bench_row:median([Ns || #{p999 := Ns} <- Rounds]).

-spec over([seen()]) -> integer().
over(Rounds) -> lists:sum([Over || #{over := Over} <- Rounds]).

-spec count([seen()]) -> integer().
count(Rounds) -> lists:sum([Count || #{count := Count} <- Rounds]).

-spec read_beside_writer(atom(), fun(), fun(), atom(), [term()], [[tuple()]]) -> seen().
read_beside_writer(Label, Lookup, Insert, Tab, Keys, [Records]) ->
    Writer = spawn(fun() ->
        ok = ferrets_bench_watch:claim(Label),
        write_on(Insert, Tab, Records, Records)
    end),
    All = ferrets_bench_timing:each_timed(Label, Lookup, Tab, Keys),
    true = exit(Writer, kill),
    #{
        longest => lists:max(All),
        median => ferrets_bench_timing:percentile(0.5, All),
        p999 => ferrets_bench_timing:percentile(0.999, All),
        over => length([Ns || Ns <- All, Ns > 1_000_000]),
        count => length(All)
    }.

-spec read_nothing(atom(), term()) -> false.
read_nothing(_Tab, _Key) -> false.

-spec write_on(fun(), atom(), [tuple()], [tuple()]) -> no_return().
write_on(Insert, Tab, [], All) ->
    write_on(Insert, Tab, All, All);
write_on(Insert, Tab, [Record | Records], All) ->
    _ = Insert(Tab, Record),
    write_on(Insert, Tab, Records, All).
