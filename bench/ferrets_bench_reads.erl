%%% Reads on one node, against `ets' tables of the same type.
%%%
%%% Each figure is nanoseconds for one call, but for reads of a whole table, where it is for all of it.
-module(ferrets_bench_reads).

-export([rows/0]).
%% Run inside the node.
-export([lookups/4, whole/2, match_object/1]).

-import(ferrets_bench_table, [call/2, filled/4]).
-import(ferrets_bench_timing, [rounds/2, each/3, repeat/2]).

-define(SIDES, [ferrets, ets]).

-spec rows() -> [ferrets_bench_row:row()].
rows() ->
    [
        row(lookup_ordered_big, "`lookup` hit, `ordered_set` table, {big}", ordered_set, {speedup, 2.5, 4},
            fun(#{big := Size}) -> {lookups, [ordered_set, plain, Size]} end),
        row(lookup_ordered_small, "`lookup` hit, `ordered_set` table, {small}", ordered_set, {speedup, 1.5, 2},
            fun(#{small := Size}) -> {lookups, [ordered_set, plain, Size]} end),
        row(lookup_set_big, "`lookup` hit, `set` table, {big}", set, {share, 1.3, 1},
            fun(#{big := Size}) -> {lookups, [set, plain, Size]} end),
        row(lookup_set_small, "`lookup` hit, `set` table, {small}", set, {share, 1.3, 1},
            fun(#{small := Size}) -> {lookups, [set, plain, Size]} end),
        row(lookup_term_10k, "`lookup` of a 10 KB-term record", set, {share, 1.2, 1},
            fun(_) -> {lookups, [set, term_10k, 100]} end),
        row(lookup_binary_100k, "`lookup` of a record with a 100 KB binary", set, {share, 1.2, 1},
            fun(_) -> {lookups, [set, binary_100k, 100]} end),
        row(match_object, "`match_object`, partially bound key, 10 of {big}", ordered_set, {speedup, 1, 2},
            fun(_) -> {match_object, []} end),
        row(select, "`select` over {big} with a guard passing 1 %", ordered_set, {speedup, 1, 2},
            fun(_) -> {whole, [select]} end),
        row(walk, "`first`/`next` walk over {big}", ordered_set, {share, 1.3, 1}, fun(_) -> {whole, [walk]} end),
        row(tab2list, "`tab2list` of {big}", ordered_set, {share, 1.2, 1}, fun(_) -> {whole, [tab2list]} end)
    ].

-spec row(atom(), string(), atom(), {atom(), number(), number()}, fun((map()) -> {atom(), list()})) ->
    ferrets_bench_row:row().
row(Name, What, Type, {Compare, Must, Aim}, Work) ->
    #{
        name => Name,
        what => What,
        against => lists:concat(["`ets` ", Type]),
        unit => ns,
        compare => Compare,
        must => Must,
        aim => Aim,
        measure => fun(Settings, Node) ->
            {Function, Args} = Work(Settings),
            ferrets_bench_node:call(Node, ?MODULE, Function, Args ++ [Settings])
        end
    }.

-spec lookups(set | ordered_set, ferrets_bench_record:kind(), pos_integer(), ferrets_bench_group:settings()) ->
    ferrets_bench_row:outcome().
lookups(Type, Kind, Size, #{rounds := Rounds, reads := Reads}) ->
    Count = count(Kind, Reads),
    Keys = fun(Round) -> ferrets_bench_record:keys(Kind, Size, min(Size, Count), Round) end,
    Times = max(1, Count div Size),
    ferrets_bench_group:outcome(rounds(Rounds, [
        begin
            Tab = filled(Side, Type, Kind, Size),
            Lookup = call(Side, lookup),
            {Side, fun(Round) -> repeat(Times, fun() -> each(Lookup, Tab, Keys(Round)) end) end}
        end
     || Side <- ?SIDES
    ])).

%% A copy of 10 KB costs what twenty small ones do.
-spec count(ferrets_bench_record:kind(), pos_integer()) -> pos_integer().
count(term_10k, Reads) -> max(100, Reads div 10);
count(_, Reads) -> Reads.

-spec match_object(ferrets_bench_group:settings()) -> ferrets_bench_row:outcome().
match_object(#{rounds := Rounds, reads := Reads, big := Size}) ->
    case ferrets_bench_table:is_built(match_object, 2) of
        false ->
            {not_measured, "not built yet"};
        true ->
            Count = Reads div 4,
            Patterns = ferrets_bench_record:kept({patterns, Size, Count}, fun() ->
                [ferrets_bench_record:user_pattern(I) || I <- lists:sublist(ferrets_bench_record:order(Size), Count)]
            end),
            Match = fun(ferrets) -> fun ferrets:match_object/2; (ets) -> fun ets:match_object/2 end,
            ferrets_bench_group:outcome(rounds(Rounds, [
                begin
                    Tab = filled(Side, ordered_set, session, Size),
                    MatchObject = Match(Side),
                    {Side, fun(_) -> each(MatchObject, Tab, Patterns) end}
                end
             || Side <- ?SIDES
            ]))
    end.

%% Reads that go over the whole table once.
-spec whole(select | walk | tab2list, ferrets_bench_group:settings()) -> ferrets_bench_row:outcome().
whole(select, Settings) ->
    case ferrets_bench_table:is_built(select, 2) of
        false -> {not_measured, "not built yet"};
        true -> read_whole(select, Settings)
    end;
whole(Read, Settings) ->
    read_whole(Read, Settings).

-spec read_whole(select | walk | tab2list, ferrets_bench_group:settings()) -> ferrets_bench_row:outcome().
read_whole(Read, #{few_rounds := Rounds, big := Size}) ->
    ferrets_bench_group:outcome(rounds(Rounds, [
        begin
            Tab = filled(Side, ordered_set, plain, Size),
            Fun = reader(Read, Side),
            {Side, fun(_) -> _ = Fun(Tab), 1 end}
        end
     || Side <- ?SIDES
    ])).

-spec reader(select | walk | tab2list, ferrets | ets) -> fun((atom()) -> term()).
reader(tab2list, ferrets) -> fun ferrets:tab2list/1;
reader(tab2list, ets) -> fun ets:tab2list/1;
reader(select, ferrets) -> fun(Tab) -> ferrets:select(Tab, one_percent()) end;
reader(select, ets) -> fun(Tab) -> ets:select(Tab, one_percent()) end;
reader(walk, ferrets) -> fun(Tab) -> walk(fun ferrets:next/2, Tab, ferrets:first(Tab)) end;
reader(walk, ets) -> fun(Tab) -> walk(fun ets:next/2, Tab, ets:first(Tab)) end.

-spec one_percent() -> ets:match_spec().
one_percent() ->
    [{{{'_', '$1'}, '_'}, [{'=:=', {'rem', '$1', 100}, 0}], ['$_']}].

-spec walk(fun((atom(), term()) -> term()), atom(), term()) -> ok.
walk(_Next, _Tab, '$end_of_table') -> ok;
walk(Next, Tab, Key) -> walk(Next, Tab, Next(Tab, Key)).
