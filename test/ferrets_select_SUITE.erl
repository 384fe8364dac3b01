%%% Queries against `ets': the properties of `prop_select', a corpus, what a hostile specification can do, and queries beside a
%%% writer.
%%%
%%% The seed is printed; `FERRETS_SEED=N' replays a run. `FERRETS_CASES=N' sets how many random cases there are in all.
%%% `FERRETS_CORPUS=N' has the corpus written anew, with N specifications.
-module(ferrets_select_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).

-define(TAB, ?FUNCTION_NAME).
-define(TYPES, [ordered_set, set, bag]).

%% Cases in all, if the environment does not say.
-define(CASES, 20_000).

all() ->
    [
        queries_answer_as_ets_does,
        expressions_are_worth_what_they_are_in_ets,
        chunks_are_those_of_ets,
        deletions_take_what_ets_takes,
        any_term_is_refused_or_answered_as_in_ets,
        the_corpus_is_answered_as_in_ets,
        a_range_is_found_wherever_its_pages_begin,
        several_whole_keys_are_each_looked_up_once,
        zeros_are_told_apart_as_in_ets,
        guards_look_at_binaries_wherever_records_are,
        numbers_are_calculated_and_compared_as_in_ets,
        functions_are_offered_as_in_ets,
        a_large_map_can_be_made,
        large_integers_are_bounded,
        a_specification_may_be_nested_without_bound,
        a_record_may_be_nested_without_bound,
        a_hostile_specification_holds_up_no_scheduler,
        a_limit_falls_between_objects_of_one_key,
        a_continuation_may_be_used_again,
        a_continuation_that_is_none_raises_badarg,
        a_query_sees_what_stays_exactly_once,
        a_scan_holds_up_no_scheduler
    ].

init_per_suite(Config) ->
    ferrets_test_cases:init_suite(?CASES, Config).

end_per_suite(_Config) ->
    ok.

end_per_testcase(Case, _Config) ->
    whereis(Case) =:= undefined orelse ferrets:stop(Case).

%% Of a whole key they look without a lock, else under their page's; at plain records in chunks, and at others in an environment.
guards_look_at_binaries_wherever_records_are(_Config) ->
    Bodies = [<<>>, <<1>>, <<0:512>>, <<0:520>>, <<0:8192>>, <<1:9>>, part(<<0:1, 7:9600, 0:7>>), "none", 1.5, {<<1, 2>>}],
    [
        begin
            {ok, _} = ferrets:start(?TAB, #{type => Type}),
            Ets = ets:new(oracle, [Type]),
            Records = lists:zip(lists:seq(1, length(Plain)), Plain),
            ok = ferrets:insert_many(?TAB, Records),
            ets:insert(Ets, Records),
            [
                begin
                    Spec = [{{Key, '$1'}, [{'>=', {Size, '$1'}, 1}], [{{{Size, '$1'}, '$1'}}]}],
                    ?assertEqual(lists:sort(ets:select(Ets, Spec)), lists:sort(ferrets:select(?TAB, Spec)))
                end
             || Key <- ['_' | lists:seq(1, length(Plain))], Size <- [byte_size, bit_size, size]
            ],
            ok = ferrets:stop(?TAB)
        end
     || Type <- ?TYPES, Plain <- [lists:sublist(Bodies, 3), Bodies]
    ].

part(<<_:1, Part:1200/binary, _/bits>>) -> Part.

%% ---------------------------------------------------------------- properties

queries_answer_as_ets_does(Config) -> holds(fun prop_select:prop_query/1, 0.25, Config).

expressions_are_worth_what_they_are_in_ets(Config) -> holds(fun prop_select:prop_expression/1, 0.25, Config).

chunks_are_those_of_ets(Config) -> holds(fun prop_select:prop_chunks/1, 0.20, Config).

deletions_take_what_ets_takes(Config) -> holds(fun prop_select:prop_delete/1, 0.15, Config).

any_term_is_refused_or_answered_as_in_ets(Config) -> holds(fun prop_select:prop_any_term/1, 0.15, Config).

holds(Property, Share, Config) ->
    Seed = proplists:get_value(seed, Config),
    Count = max(1, round(proplists:get_value(cases, Config) * Share / length(?TYPES))),
    [
        begin
            %% PropEr begins with the process's own random state.
            _ = rand:seed(exsss, Seed),
            Found = proper:quickcheck(Property(Type), [quiet, {numtests, Count}, {max_shrinks, 200}]),
            Found =:= true orelse ct:pal("FERRETS_SEED=~b finds ~p", [Seed, proper:counterexample()]),
            ?assertEqual({true, Type}, {Found, Type})
        end
     || Type <- ?TYPES
    ].

%% ---------------------------------------------------------------- the corpus

the_corpus_is_answered_as_in_ets(_Config) ->
    File = filename:join(filename:dirname(proplists:get_value(source, ?MODULE:module_info(compile))), "match_specs.terms"),
    case os:getenv("FERRETS_CORPUS") of
        false -> ok;
        Given -> write_corpus(File, list_to_integer(Given))
    end,
    {ok, Corpus} = file:consult(File),
    ?assert(length(Corpus) > 100),
    [
        with_both(Type, Pos, Records, fun(Tables) ->
            [
                begin
                    {Expected, Found} = prop_select:both(Tables, {Query, Spec}),
                    prop_select:same(Type, Expected, Found) orelse error({differ, Query, Spec, Expected, Found})
                end
             || Query <- prop_select:queries()
            ]
        end)
     || {Pos, Records, Spec} <- Corpus, Type <- ?TYPES
    ].

%% Specifications that give something, and whose terms can be read from a file.
write_corpus(File, Count) ->
    _ = rand:seed(exsss, Count),
    {ok, Device} = file:open(File, [write]),
    ok = io:format(Device, "%% {KeyPos, Records, Specification}: made by ferrets_select_SUITE, see there.~n", []),
    write_corpus_terms(Device, Count),
    ok = file:close(Device).

write_corpus_terms(_Device, 0) ->
    ok;
write_corpus_terms(Device, Count) ->
    {Pos, Records} = ferrets_random_spec:table(3),
    Case = {Pos, Records, ferrets_random_spec:spec(1, Pos, Records)},
    Text = io_lib:format("~0p.", [Case]),
    case is_worth_keeping(Case, Text) of
        true ->
            ok = io:format(Device, "~s~n", [Text]),
            write_corpus_terms(Device, Count - 1);
        false ->
            write_corpus_terms(Device, Count)
    end.

is_worth_keeping({Pos, Records, Spec} = Case, Text) ->
    Ets = ets:new(?MODULE, [set, {keypos, Pos}]),
    true = ets:insert(Ets, Records),
    Gives =
        try
            ets:select(Ets, Spec) =/= []
        catch
            error:badarg -> false
        end,
    ets:delete(Ets),
    Gives andalso iolist_size(Text) < 600 andalso is_readable(Case, lists:flatten(Text)).

is_readable(Case, Text) ->
    case erl_scan:string(Text) of
        {ok, Tokens, _} ->
            try
                {ok, Term} = erl_parse:parse_term(Tokens),
                term_to_binary(Term) =:= term_to_binary(Case)
            catch
                error:_ -> false
            end;
        {error, _, _} ->
            false
    end.

with_both(Type, Pos, Records, Fun) ->
    Ets = ets:new(?MODULE, [Type, {keypos, Pos}]),
    {ok, Server} = ferrets:start(?MODULE, #{type => Type, keypos => Pos}),
    try
        true = ets:insert(Ets, Records),
        [ok = ferrets:insert(?MODULE, Record) || Record <- Records],
        Fun({Ets, ?MODULE})
    after
        true = ets:delete(Ets),
        ok = ferrets:stop(Server)
    end.

%% ---------------------------------------------------------------- ranges

%% Random tables have one page. Here are some dozens of them, and ranges of less than a page and of several.
a_range_is_found_wherever_its_pages_begin(Config) ->
    _ = rand:seed(exsss, proplists:get_value(seed, Config)),
    Groups = [{Group, rand:uniform(10) * rand:uniform(80)} || Group <- lists:seq(1, 40)],
    Records = [{{Group, I}, I rem 3} || {Group, Size} <- Groups, I <- lists:seq(1, Size)],
    Shuffled = [Record || {_, Record} <- lists:sort([{rand:uniform(), Record} || Record <- Records])],
    with_both(ordered_set, 1, Shuffled, fun({Ets, Tab}) ->
        [agree_on_range(Ets, Tab, Group) || Group <- lists:seq(0, 41)],
        %% Tombstones stay, and pages are joined.
        Some = [Key || {{Group, _} = Key, 1} <- Records, Group rem 3 =/= 0],
        [true = ets:delete(Ets, Key) || Key <- Some],
        ok = ferrets:delete_many(Tab, Some),
        [agree_on_range(Ets, Tab, Group) || Group <- lists:seq(0, 41)]
    end).

agree_on_range(Ets, Tab, Group) ->
    Spec = [{{{Group, '$1'}, '_'}, [], ['$1']}],
    Reverse = lists:reverse(ets:select(Ets, Spec)),
    ?assertEqual({Group, ets:select(Ets, Spec)}, {Group, ferrets:select(Tab, Spec)}),
    ?assertEqual({Group, Reverse}, {Group, ferrets:select_reverse(Tab, Spec)}),
    ?assertEqual({Group, Reverse}, {Group, lists:append(chunks(ferrets:select_reverse(Tab, Spec, 100)))}),
    ?assertEqual({Group, Reverse}, {Group, lists:reverse(lists:append(chunks(ferrets:select(Tab, Spec, 33))))}).

several_whole_keys_are_each_looked_up_once(_Config) ->
    Keys = [1, 1.0, 2, 2.0, a, {1, a}, {1.0, a}, "ab"],
    Records = [{Key, I} || {I, Key} <- lists:enumerate(Keys)] ++ [{a, again}],
    Asked = [[1], [1.0], [1, 1.0], [1.0, 1], [a, 2, 1], [2, a, 1, 2, a], [{1, a}, {1.0, a}, none], [none], Keys ++ Keys],
    [
        with_both(Type, 1, Records, fun({Ets, Tab} = Tables) ->
            [
                begin
                    Spec = [{{Key, '$1'}, [], [{{{const, Key}, '$1'}}]} || Key <- Some],
                    [
                        begin
                            {Expected, Found} = prop_select:both(Tables, {Query, Spec}),
                            prop_select:same(Type, Expected, Found) orelse error({differ, Query, Spec, Expected, Found})
                        end
                     || Query <- [select, select_reverse]
                    ],
                    ?assertEqual(lists:sort(ets:select(Ets, Spec)), lists:sort(lists:append(chunks(ferrets:select(Tab, Spec, 1)))))
                end
             || Some <- Asked
            ]
        end)
     || Type <- ?TYPES
    ].

%% A float in a head is compared bit by bit, a bound variable by `=:='; and of two zeros that are the same to a variable it
%% is bound to the one that comes first, which shows in which order the parts of a record are looked at.
zeros_are_told_apart_as_in_ets(_Config) ->
    Zeros = [0, 0.0, -0.0],
    Shapes = [
        fun(A, B) -> {A, B} end,
        fun(A, B) -> {{A}, B} end,
        fun(A, B) -> {{A}, {B}} end,
        fun(A, B) -> {[A], {B}} end,
        fun(A, B) -> {[{A}, B], c} end,
        fun(A, B) -> {[{A}, {B}], c} end,
        fun(A, B) -> {[[A] | {B}], c} end,
        fun(A, B) -> {#{a => A}, B} end,
        fun(A, B) -> {#{a => A, b => B}, c} end,
        fun(A, B) -> {#{a => {A}, b => [B]}, c} end,
        fun(A, B) -> {{c, {A}}, {B, #{c => {A}}}} end,
        fun(A, B) -> {#{A => B}, c} end
    ],
    [
        with_both(Type, 1, [Shape(A, B)], fun(Tables) ->
            Patterns = [Shape(C, D) || C <- ['$1', '_' | Zeros], D <- ['$1', '$2' | Zeros]],
            [
                begin
                    {Expected, Found} = prop_select:both(Tables, {match, [{Pattern, [], []}]}),
                    prop_select:same(Type, Expected, Found) orelse error({differ, Pattern, {A, B}, Expected, Found})
                end
             || Pattern <- Patterns
            ]
        end)
     || Type <- [set, ordered_set], Shape <- Shapes, A <- Zeros, B <- Zeros
    ].

%% Every operator on every pair of numbers about which something is special.
numbers_are_calculated_and_compared_as_in_ets(_Config) ->
    Bounds = [1 bsl 53, 1 bsl 59, 1 bsl 63, 1 bsl 64, 1 bsl 128, 1 bsl 1023, 1 bsl 1024, (1 bsl 64) * 3 + 1],
    Integers = [0, 1, 2, 3, 5, 7, 63, 64] ++ [Bound + D || Bound <- Bounds, D <- [-1, 0, 1]],
    Floats = [0.0, 0.5, 1.0, 1.5, 2.5, 0.49999999999999994, 1.0e300, 1.5e-300, float(1 bsl 53), float(1 bsl 63), float(1 bsl 64)],
    Numbers = [Sign * Number || Number <- Integers ++ Floats, Sign <- [1, -1]],
    Unary = ['+', '-', 'bnot', abs, round, trunc, float, is_integer, is_float, is_number],
    Binary =
        ['+', '-', '*', '/', 'div', 'rem', 'band', 'bor', 'bxor', '<', '=<', '>', '>=', '==', '/=', '=:=', '=/='],
    Of = fun(A, B) ->
        Shifts = [{Op, A, B} || is_integer(B), abs(B) < 100_000, Op <- ['bsl', 'bsr']],
        [{Op, A} || Op <- Unary] ++ [{Op, A, B} || Op <- Binary] ++ Shifts
    end,
    with_both(set, 1, [{A, B} || A <- Numbers, B <- [hd(Numbers)]], fun({Ets, Tab}) ->
        [
            begin
                %% Once with the numbers of a record, once with those of the specification.
                Specs = [[{{'$1', '_'}, [], [Of('$1', B)]}], [{'_', [], [Of(A, B)]}]],
                [
                    prop_select:same(set, ets:select(Ets, S), ferrets:select(Tab, S)) orelse error({differ, S})
                 || S <- Specs
                ]
            end
         || B <- Numbers, A <- lists:sublist(Numbers, 1 + erlang:phash2(B, 8), 9)
        ]
    end).

%% ---------------------------------------------------------------- functions

%% Whatever `erlang' exports, in the VM at hand, with up to five arguments: offered or not, in guards and in bodies.
functions_are_offered_as_in_ets(_Config) ->
    Forms = ['and', 'or', 'xor', 'andalso', 'orelse', const, is_record, is_seq_trace, message, caller, display, silent],
    Names = lists:usort(Forms ++ [Name || {Name, _} <- erlang:module_info(exports)]),
    Calls = [list_to_tuple([Name | lists:duplicate(Arity, 1)]) || Name <- Names, Arity <- lists:seq(0, 5)],
    Specs = [Spec || Call <- Calls, Spec <- [[{'_', [Call], [true]}], [{'_', [], [Call]}]]],
    with_both(set, 1, [{1, 2}], fun(Tables) ->
        [
            begin
                {Expected, Found} = prop_select:both(Tables, {select, Spec}),
                ?assertEqual({Expected, Spec}, {Found, Spec})
            end
         || Spec <- Specs
        ]
    end).

%% Not compared: `ets' of OTP 25 writes over its heap.
a_large_map_can_be_made(_Config) ->
    table(?TAB, set, [{1, a}]),
    Map = maps:from_list([{I, '$2'} || I <- lists:seq(1, 100)]),
    Expected = maps:map(fun(_, _) -> a end, Map),
    ?assertEqual([Expected], ferrets:select(?TAB, [{{'$1', '$2'}, [{'==', Map, Map}], [Map]}])).

%% What would take long counts as an exception.
large_integers_are_bounded(_Config) ->
    table(?TAB, set, [{1, 1 bsl 30_000}, {2, 1 bsl 3_000_000}]),
    Give = fun(Expression) -> ferrets:select(?TAB, [{{1, '$1'}, [], [Expression]}]) end,
    ?assertEqual([1 bsl 60_000], Give({'*', '$1', '$1'})),
    ?assertEqual([1 bsl 1_000_000], Give({'bsl', 1, 1_000_000})),
    ?assertEqual(['EXIT'], Give({'bsl', 1, 10_000_000})),
    ?assertEqual([0], Give({'bsr', '$1', 1 bsl 70})),
    ?assertEqual(['EXIT'], ferrets:select(?TAB, [{{2, '$1'}, [], [{'*', '$1', '$1'}]}])),
    ?assertEqual([2], ferrets:select(?TAB, [{{'$2', '$1'}, [{'==', '$1', 1 bsl 3_000_000}], ['$2']}])).

%% ---------------------------------------------------------------- hostile input

%% `ets' is not asked: it recurses.
a_specification_may_be_nested_without_bound(_Config) ->
    table(?TAB, ordered_set, [{1, a}]),
    Deep = fun(Wrap, Core) -> lists:foldl(fun(_, Inner) -> Wrap(Inner) end, Core, lists:seq(1, 500_000)) end,
    Tuple = Deep(fun(Inner) -> {Inner} end, '$2'),
    List = Deep(fun(Inner) -> [Inner] end, '$2'),
    Not = Deep(fun(Inner) -> {'not', Inner} end, true),
    Construct = Deep(fun(Inner) -> {{Inner}} end, '$1'),
    AndAlso = Deep(fun(Inner) -> {'andalso', Inner, true} end, true),
    ?assertEqual([], ferrets:select(?TAB, [{{1, Tuple}, [], ['$_']}])),
    ?assertEqual([], ferrets:select(?TAB, [{{List, '_'}, [], ['$_']}])),
    ?assertEqual([], ferrets:match_object(?TAB, {Tuple, '_'})),
    ?assertEqual([{1, a}], ferrets:select(?TAB, [{{1, '_'}, [Not], ['$_']}])),
    ?assertEqual([{1, a}], ferrets:select(?TAB, [{{1, '_'}, [AndAlso], ['$_']}])),
    ?assertEqual(1, ferrets:select_count(?TAB, [{{'$1', '_'}, [{is_tuple, Construct}], [true]}])),
    ?assertError(badarg, ferrets:select(?TAB, [{{1, '_'}, [], [Deep(fun(Inner) -> {hd, Inner} end, '$7')]}])),
    ?assertError(badarg, ferrets:select(?TAB, [{{1, '_'}, [], [{Deep(fun(Inner) -> {Inner} end, a)}]}])),
    Long = lists:seq(1, 500_000),
    ?assertEqual([], ferrets:select(?TAB, [{{Long, '_'}, [], ['$_']}])),
    ?assertEqual([Long], ferrets:select(?TAB, [{{1, '_'}, [], [Long]}])),
    ?assertEqual([Long], ferrets:select(?TAB, [{{1, '_'}, [], [{const, Long}]}])),
    Clauses = [{{I, '_'}, [], [I]} || I <- lists:seq(-20_000, 20_000)],
    ?assertEqual([1], ferrets:select(?TAB, Clauses)).

a_record_may_be_nested_without_bound(_Config) ->
    Deep = lists:foldl(fun(_, Inner) -> {[Inner]} end, core, lists:seq(1, 200_000)),
    table(?TAB, ordered_set, [{1, Deep}, {{2, Deep}, x}]),
    ?assertEqual(1, ferrets:select_count(?TAB, [{{1, Deep}, [], [true]}])),
    ?assertEqual(1, ferrets:select_count(?TAB, [{{{2, '_'}, x}, [], [true]}])),
    ?assertEqual(1, ferrets:select_count(?TAB, [{{{2, Deep}, '_'}, [], [true]}])),
    ?assertEqual(2, ferrets:select_count(?TAB, [{{'_', '_'}, [{'=/=', '$_', {const, Deep}}], [true]}])).

%% What would take long is compiled and run on a dirty scheduler.
a_hostile_specification_holds_up_no_scheduler(_Config) ->
    table(?TAB, set, [{I, I} || I <- lists:seq(1, 2000)]),
    Guard = {'and', list_to_tuple(['and' | lists:duplicate(20_000, {'<', '$1', {'+', '$2', 1}})])},
    Heads = [{{I, lists:seq(1, 20)}, [], [true]} || I <- lists:seq(1, 5000)],
    Specs = [[{{'$1', '$2'}, [Guard], [true]}], Heads ++ [{'_', [], [true]}]],
    true = erlang:system_flag(scheduler_wall_time, true) =/= undefined,
    [
        begin
            {Active, Took} = dirty_time(fun() -> ?assertEqual(2000, ferrets:select_count(?TAB, Spec)) end),
            ct:pal("~b us, ~b of them on dirty schedulers", [Took, Active]),
            ?assert(Active > Took / 2)
        end
     || Spec <- Specs
    ],
    {Active, Took} = dirty_time(fun() -> [ferrets:select_count(?TAB, [{'_', [], [true]}]) || _ <- lists:seq(1, 1000)] end),
    ?assert(Active < Took / 2).

%% How long dirty schedulers have worked, and how long the call took, in microseconds.
dirty_time(Call) ->
    Before = dirty_active(),
    Begin = erlang:monotonic_time(microsecond),
    _ = Call(),
    Took = erlang:monotonic_time(microsecond) - Begin,
    {erlang:convert_time_unit(dirty_active() - Before, perf_counter, microsecond), Took}.

dirty_active() ->
    Normal = erlang:system_info(schedulers),
    Dirty = Normal + erlang:system_info(dirty_cpu_schedulers),
    lists:sum([
        Active
     || {Id, Active, _} <- erlang:statistics(scheduler_wall_time_all), Id > Normal, Id =< Dirty
    ]).

%% ---------------------------------------------------------------- chunks

a_limit_falls_between_objects_of_one_key(_Config) ->
    Objects = [{Key, I} || Key <- [a, b], I <- lists:seq(1, 1000)],
    table(?TAB, bag, Objects),
    [
        begin
            Chunks = chunks(ferrets:match_object(?TAB, {'_', '_'}, Limit)),
            ?assertEqual(lists:sort(Objects), lists:sort(lists:append(Chunks))),
            ?assert(lists:all(fun(Chunk) -> length(Chunk) =:= Limit end, lists:droplast(Chunks)))
        end
     || Limit <- [1, 7, 999, 1000, 1001, 2000, 5000]
    ],
    ?assertEqual([250, 250, 250, 250], [length(Chunk) || Chunk <- chunks(ferrets:match(?TAB, {a, '$1'}, 250))]).

chunks('$end_of_table') -> [];
chunks({Chunk, Continuation}) -> [Chunk | chunks(ferrets:select(Continuation))].

a_continuation_may_be_used_again(_Config) ->
    [
        begin
            table(?TAB, Type, [{I} || I <- lists:seq(1, 5000)]),
            {First, Continuation} = ferrets:select(?TAB, [{{'$1'}, [], ['$1']}], 100),
            {Second, _} = ferrets:select(Continuation),
            ?assertMatch({Second, _}, ferrets:match(Continuation)),
            ?assertMatch({Second, _}, ferrets:select_reverse(Continuation)),
            ?assertEqual([], [Key || Key <- First, lists:member(Key, Second)]),
            ok = ferrets:stop(?TAB)
        end
     || Type <- ?TYPES
    ].

a_continuation_that_is_none_raises_badarg(_Config) ->
    table(?TAB, ordered_set, [{I} || I <- lists:seq(1, 5000)]),
    {_, Continuation} = ferrets:select(?TAB, [{'_', [], ['$_']}], 100),
    ?assertEqual('$end_of_table', ferrets:match_object('$end_of_table')),
    [?assertError(badarg, ferrets:select(Wrong)) || Wrong <- [none, {}, {?TAB, 1}, [], ets, #{}]],
    %% Each element of it may be wrong.
    [
        ?assertMatch({'EXIT', {_, _}}, catch ferrets:select(setelement(At, Continuation, wrong)))
     || At <- lists:seq(1, tuple_size(Continuation)), At =/= 3
    ],
    ok = ferrets:stop(?TAB),
    ?assertError(badarg, ferrets:select(Continuation)),
    table(?TAB, ordered_set, []),
    ?assertError(badarg, ferrets:select(Continuation)).

%% ---------------------------------------------------------------- beside a writer

%% Multiples of 10 stay throughout; the keys between them come and go.
a_query_sees_what_stays_exactly_once(_Config) ->
    [
        begin
            Stay = lists:seq(0, 30_000, 10),
            table(?TAB, Type, [{Key, stays} || Key <- Stay]),
            Writer = spawn_link(fun() -> come_and_go(?TAB) end),
            Deadline = erlang:monotonic_time(millisecond) + 2000,
            query_until(Deadline, ?TAB, Type, Stay),
            unlink(Writer),
            exit(Writer, kill),
            ok = ferrets:stop(?TAB)
        end
     || Type <- ?TYPES
    ].

come_and_go(Tab) ->
    From = rand:uniform(22_000),
    Keys = [Key || Key <- lists:seq(From, From + 8000), Key rem 10 =/= 0],
    ok = ferrets:insert_many(Tab, [{Key, <<Key:512>>} || Key <- Keys]),
    ok = ferrets:delete_many(Tab, Keys),
    come_and_go(Tab).

query_until(Deadline, Tab, Type, Stay) ->
    Spec = [{{'$1', stays}, [], ['$1']}],
    Sort =
        case Type of
            ordered_set -> fun(Keys) -> Keys end;
            _ -> fun lists:sort/1
        end,
    ?assertEqual(Stay, Sort(ferrets:select(Tab, Spec))),
    ?assertEqual(length(Stay), ferrets:select_count(Tab, [{{'_', stays}, [], [true]}])),
    ?assertEqual(Stay, Sort(lists:append(chunks(ferrets:select(Tab, Spec, 70))))),
    Type =:= ordered_set andalso ?assertEqual(lists:reverse(Stay), ferrets:select_reverse(Tab, Spec)),
    erlang:monotonic_time(millisecond) > Deadline orelse query_until(Deadline, Tab, Type, Stay).

%% Some calls look long when a core is lost to others; but not most of them.
a_scan_holds_up_no_scheduler(_Config) ->
    [
        begin
            table(?TAB, Type, [{I, I rem 100} || I <- lists:seq(1, 300_000)]),
            Times = lists:sort(slices(?TAB, [{{'$1', '$2'}, [{'==', '$2', 7}], ['$1']}])),
            Most = lists:nth(length(Times) * 8 div 10, Times),
            ct:pal("~p: ~b slices, most of them below ~b us", [Type, length(Times), Most]),
            ?assert(length(Times) > 20),
            ?assert(Most < 1000),
            ok = ferrets:stop(?TAB)
        end
     || Type <- ?TYPES
    ].

%% How long each takes, in microseconds.
slices(Tab, Spec) ->
    slices_on(Tab, timed(fun() -> ferrets_nif:select(Tab, Spec, forward, infinity) end)).

slices_on(_Tab, {Time, {done, _, _}}) ->
    [Time];
slices_on(Tab, {Time, {more, _, _, Position, Program}}) ->
    [Time | slices_on(Tab, timed(fun() -> ferrets_nif:select_on(Tab, Program, Position, forward, infinity) end))].

timed(Call) ->
    Begin = erlang:monotonic_time(microsecond),
    Result = Call(),
    {erlang:monotonic_time(microsecond) - Begin, Result}.

table(Tab, Type, Records) ->
    {ok, _} = ferrets:start(Tab, #{type => Type}),
    ok = ferrets:insert_many(Tab, Records).
