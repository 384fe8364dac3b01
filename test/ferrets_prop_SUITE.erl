%%% Random calls, with `ets' as the oracle: what a table answers and holds after any of them (`prop_ets').
%%%
%%% The seed is printed; `FERRETS_SEED=N' replays a failing run, whatever the other properties do. `FERRETS_CASES=N' sets
%%% how many cases there are in all.
-module(ferrets_prop_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).

%% Cases in all, if the environment does not say.
-define(CASES, 20_000).
%% PropEr has cases grow with the run. Ours are as large from the first, so that a case does not depend on how many there are.
-define(SIZE, 20).
-define(SHRINKS_MAX, 1000).

all() ->
    [{group, Type} || Type <- prop_ets:types()] ++
        [
            no_call_takes_a_missing_table_for_an_empty_one,
            equal_keys_are_one_however_deep_they_differ
        ].

groups() ->
    [
        {Type, [], [
            any_calls_answer_as_ets_does_and_leave_the_same_records,
            a_mistake_raises_as_in_ets_and_changes_nothing,
            a_table_of_many_pages_holds_what_ets_holds,
            a_linked_table_holds_the_same_terms
        ]}
     || Type <- prop_ets:types()
    ].

%% Each of many cases loses a peer, and would say so.
init_per_suite(Config) ->
    ok = logger:set_module_level(ferrets_event, error),
    ferrets_test_cases:init_suite(?CASES, Config).

end_per_suite(_Config) ->
    ok = logger:unset_module_level(ferrets_event).

init_per_group(Type, Config) ->
    [{type, Type} | Config].

end_per_group(_Type, _Config) ->
    ok.

any_calls_answer_as_ets_does_and_leave_the_same_records(Config) ->
    holds(fun prop_ets:agrees/1, 0.75, Config).

a_mistake_raises_as_in_ets_and_changes_nothing(Config) ->
    holds(fun prop_ets:refuses/1, 0.18, Config).

a_table_of_many_pages_holds_what_ets_holds(Config) ->
    holds(fun prop_ets:is_large/1, 0.01, Config).

a_linked_table_holds_the_same_terms(Config) ->
    holds(fun prop_ets:is_copied/1, 0.05, Config).

no_call_takes_a_missing_table_for_an_empty_one(Config) ->
    check(prop_ets:is_missed(), 0.01, Config).

%% Found by `any_calls_...', and reduced: a key with a float was hashed by its first 200 levels only, its twin by all.
equal_keys_are_one_however_deep_they_differ(_Config) ->
    {ok, Server} = ferrets:start(?FUNCTION_NAME, #{type => ordered_set}),
    Nest = fun(Depth, Term) -> lists:foldl(fun(_, Inner) -> {Inner} end, Term, lists:seq(1, Depth)) end,
    Lost = [
        {Depth, Stored, Sought}
     || Depth <- [1, 100, 199, 200, 201, 210, 5000],
        {Stored, Sought} <- [{0, 0.0}, {0.0, 0}],
        ok =:= ferrets:insert(?FUNCTION_NAME, {Nest(Depth, Stored)}),
        [{Nest(Depth, Stored)}] =/= ferrets:lookup(?FUNCTION_NAME, Nest(Depth, Sought))
    ],
    ok = ferrets:stop(Server),
    ?assertEqual([], Lost).

%% Types share what a property has of the cases.
holds(Property, Share, Config) ->
    check(Property(proplists:get_value(type, Config)), Share / length(prop_ets:types()), Config).

check(Property, Share, Config) ->
    Seed = proplists:get_value(seed, Config),
    Count = ceil(Share * proplists:get_value(cases, Config)),
    %% PropEr begins with the process's own random state if there is one. It takes no seed otherwise.
    _ = rand:seed(exsss, Seed),
    Options = [quiet, {numtests, Count}, {start_size, ?SIZE}, {max_size, ?SIZE}, {max_shrinks, ?SHRINKS_MAX}],
    case proper:quickcheck(Property, Options) of
        true ->
            ok;
        false ->
            [Case] = proper:counterexample(),
            Shown = prop_ets:to_string(Case, prop_ets:run(Case)),
            ct:pal("FERRETS_SEED=~b finds, and shrinks to:~n~ts", [Seed, Shown]),
            ct:fail("see the log; replay with FERRETS_SEED=~b", [Seed]);
        Error ->
            ct:fail(Error)
    end.
