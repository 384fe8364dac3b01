%%% The memory that tables take, each in a VM of its own that has done nothing else.
%%%
%%% What a table says of itself is one thing, what the operating system sees is another: allocators round up, and garbage is
%%% garbage. So both are shown: the words that `info' counts, and by how much the VM's resident memory has grown. Records
%%% are inserted one by one, in random order, by a process that keeps none of them.
-module(ferrets_bench_memory).

-export([rows/0]).
%% Run inside the node.
-export([fill_and_weigh/4, overwrite_and_weigh/2]).

-type weight() :: #{counted := number(), resident := number() | unknown}.

-spec rows() -> [ferrets_bench_row:row()].
rows() ->
    Overwrites = "memory after {overwrites} overwrites of {overwritten} records",
    [
        session_row(memory_counted, "memory per record, {big} session records, as counted by `info`", counted),
        session_row(memory_resident, "memory per record, {big} session records, resident", resident),
        overwrite_row(memory_overwritten, Overwrites ++ ", as counted by `info`", counted),
        overwrite_row(memory_overwritten_resident, Overwrites ++ ", resident", resident)
    ].

-spec session_row(atom(), string(), counted | resident) -> ferrets_bench_row:row().
session_row(Name, What, Scale) ->
    #{
        name => Name,
        what => What,
        against => "`ets` ordered_set",
        unit => bytes,
        compare => share,
        must => 1.2,
        aim => 0.9,
        measure => fun(#{big := Size}, _) ->
            compare(Scale, [
                {Side, [in_fresh_node(fill_and_weigh, [Side, ordered_set, session, Size])]}
             || Side <- [ferrets, ets]
            ])
        end
    }.

-spec overwrite_row(atom(), string(), counted | resident) -> ferrets_bench_row:row().
overwrite_row(Name, What, Scale) ->
    #{
        name => Name,
        what => What,
        against => "itself before",
        unit => bytes,
        compare => share,
        must => 1.6,
        aim => 1.2,
        measure => fun(#{overwritten := Size, overwrites := Times}, _) ->
            {Before, After} = in_fresh_node(overwrite_and_weigh, [Size, Times]),
            compare(Scale, [{ferrets, [After]}, {before, [Before]}])
        end
    }.

-spec in_fresh_node(atom(), [term()]) -> term().
in_fresh_node(Function, Args) ->
    ferrets_bench_group:once({?MODULE, Function, Args}, fun() ->
        Node = ferrets_bench_node:start(),
        Result = ferrets_bench_node:call(Node, ?MODULE, Function, Args),
        ok = ferrets_bench_node:stop(Node),
        Result
    end).

-spec compare(counted | resident, [{atom(), [weight()]}]) -> ferrets_bench_row:outcome().
compare(Scale, [{_, Ours}, {_, Theirs}]) ->
    Weights = fun(Sample) -> [maps:get(Scale, Weight) || Weight <- Sample] end,
    All = Weights(Ours) ++ Weights(Theirs),
    case {lists:member(unknown, All), lists:min(All) =< 0} of
        {true, _} -> {not_measured, "this system does not tell"};
        {_, true} -> {not_measured, "less than the VM's own memory varies by"};
        {_, false} -> #{ours => Weights(Ours), others => [{"the other", Weights(Theirs)}]}
    end.

%% ---------------------------------------------------------------- inside the node

%% Bytes for each record.
-spec fill_and_weigh(ferrets | ets, set | ordered_set, ferrets_bench_record:kind(), pos_integer()) -> weight().
fill_and_weigh(Side, Type, Kind, Size) ->
    %% All that is not the table comes first, such as code.
    ok = ferrets_bench_table:open(Side, weighed, Type),
    ok = write_each(Side, Kind, lists:seq(-100, -1)),
    ok = ferrets_bench_node:settle(),
    Before = weigh(Side),
    ok = ferrets_bench_record:each_thousand(fun(Numbers) -> write_each(Side, Kind, Numbers) end, Size),
    ok = ferrets_bench_node:settle(),
    After = weigh(Side),
    maps:map(
        fun
            (_, {_, unknown}) -> unknown;
            (_, {From, To}) -> (To - From) / Size
        end,
        maps:map(fun(Scale, From) -> {From, maps:get(Scale, After)} end, Before)
    ).

%% What it weighs when every record has been written once, and when they have been overwritten so many times.
-spec overwrite_and_weigh(pos_integer(), pos_integer()) -> {weight(), weight()}.
overwrite_and_weigh(Size, Times) ->
    ok = ferrets_bench_table:open(ferrets, weighed, ordered_set),
    ok = write_each(ferrets, plain, lists:seq(1, 100)),
    ok = ferrets_bench_node:settle(),
    Empty = resident(),
    WriteAll = fun() ->
        ferrets_bench_record:each_thousand(fun(Numbers) -> write_each(ferrets, plain, Numbers) end, Size)
    end,
    ok = WriteAll(),
    ok = ferrets_bench_node:settle(),
    Before = weigh(ferrets),
    [ok = WriteAll() || _ <- lists:seq(1, Times div Size)],
    ok = ferrets_bench_node:settle(),
    {less(Empty, Before), less(Empty, weigh(ferrets))}.

-spec less(number() | unknown, weight()) -> weight().
less(unknown, Weight) -> Weight;
less(Empty, #{resident := Resident} = Weight) -> Weight#{resident := Resident - Empty}.

-spec write_each(ferrets | ets, ferrets_bench_record:kind(), [integer()]) -> ok.
write_each(Side, Kind, Numbers) ->
    Insert = ferrets_bench_table:call(Side, insert),
    ferrets_bench_timing:aside(fun() ->
        lists:foreach(fun(I) -> Insert(weighed, ferrets_bench_record:record(Kind, I)) end, Numbers)
    end).

-spec weigh(ferrets | ets) -> weight().
weigh(Side) ->
    #{counted => words(Side) * erlang:system_info(wordsize), resident => resident()}.

-spec words(ferrets | ets) -> non_neg_integer().
words(ferrets) -> maps:get(memory, ferrets:info(weighed));
words(ets) -> ets:info(weighed, memory).

-spec resident() -> number() | unknown.
resident() ->
    ferrets_bench_node:resident_bytes().
