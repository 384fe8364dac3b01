%%% Queries against `ets': random tables, patterns and specifications, well-formed and not.
%%%
%%% The properties are called from plain Common Test cases (`ferrets_select_SUITE'). A case is a table's type, its records and
%%% a question; both sides must give the same result or the same exception. Results are compared byte by byte in the external
%%% term format, so that 0.0 and -0.0 are told apart; of a `set' or `bag' as multisets.
%%%
%%% What these and the cases of `ferrets_select_SUITE' have been seen to catch, each a mistake made on purpose in the library: a
%%% prefix that ends one part too late; a range that starts on the page of the first fence in it, or backwards on that of
%%% its first key; a float in a head compared by `=:='; parts looked at in another order than that of `ets'; a shift to the
%%% right that truncates towards zero; `andalso' that insists on a boolean at its end; equal numbers taken for one key of a
%%% `set'; a limit that stops between keys of one hash (which then never ends). And three that nobody had made on purpose: no key
%%% with a variable in it was taken for an open one; `abs' of -0.0; a slice that ended before its range began.
-module(prop_select).

-export([prop_query/1, prop_expression/1, prop_chunks/1, prop_delete/1, prop_any_term/1]).
-export([queries/0, both/2, same/3]).

-define(TAB, prop_select).

%% Debian's PropEr comes without its header.
-define(FORALL(Value, Type, Property), proper:forall(Type, fun(Value) -> Property end)).

%% ---------------------------------------------------------------- properties

%% Every function that answers all at once.
prop_query(Type) ->
    for_all(fun(Size) ->
        {Pos, Records} = ferrets_random_spec:table(Size),
        Specs = [ferrets_random_spec:spec(2, Pos, Records) || _ <- lists:seq(1, 4)],
        with_tables(Type, Pos, Records, fun(Ets) ->
            lists:all(fun(Spec) -> agree_all(Type, Ets, Spec) end, Specs)
        end)
    end).

%% Guards and bodies alone, on one record, so that more of them are tried.
prop_expression(Type) ->
    for_all(fun(_Size) ->
        [Key, A, B] = [ferrets_random_spec:value(Depth) || Depth <- [0, 1, 2]],
        Body = fun() -> [ferrets_random_spec:expression(3)] end,
        Head = {'$1', '$2', '$3'},
        Specs = [[{Head, [], Body()}] || _ <- lists:seq(1, 4)] ++ [[{Head, Body(), ['$_']}] || _ <- lists:seq(1, 4)],
        with_tables(Type, 1, [{Key, A, B}], fun(Ets) ->
            lists:all(fun(Spec) -> agree(Type, Ets, select, Spec) end, Specs)
        end)
    end).

%% Limits and continuations. Of an `ordered_set' each chunk is the same.
prop_chunks(Type) ->
    for_all(fun(Size) ->
        {Pos, Records} = ferrets_random_spec:table(Size),
        Spec = ferrets_random_spec:spec(2, Pos, Records),
        Limit = ferrets_random_spec:limit(),
        Ask = fun(Module, Tab, Query) ->
            ask(fun() -> chunks(Module, Query, Module:Query(Tab, Spec, Limit), Limit) end)
        end,
        with_tables(Type, Pos, Records, fun(Ets) ->
            lists:all(
                fun(Query) ->
                    {Expected, Found} = {Ask(ets, Ets, Query), Ask(ferrets, ?TAB, Query)},
                    same_chunks(Type, Expected, Found) orelse report({Query, Limit}, Records, Spec, Expected, Found)
                end,
                [select, select_reverse]
            )
        end)
    end).

%% What is deleted, how many that are, and what is left.
prop_delete(Type) ->
    for_all(fun(Size) ->
        {Pos, Records} = ferrets_random_spec:table(Size),
        Spec = ferrets_random_spec:spec(2, Pos, Records),
        Module = lists:nth(rand:uniform(2), [ferrets, ferrets_local]),
        with_tables(Type, Pos, Records, fun(Ets) ->
            Expected = ask(ets, select_delete, [Ets, Spec]),
            Found = ask(Module, select_delete, [?TAB, Spec]),
            (Expected =:= Found orelse report({Module, select_delete}, Records, Spec, Expected, Found)) andalso
                same(set, ets:tab2list(Ets), ferrets:tab2list(?TAB))
        end)
    end).

%% Any term at all as a specification or pattern.
prop_any_term(Type) ->
    for_all(fun(Size) ->
        Records = [ferrets_random_spec:record(1) || _ <- lists:seq(1, Size)],
        Specs = [ferrets_random_spec:any_spec(2) || _ <- lists:seq(1, 4)],
        with_tables(Type, 1, Records, fun(Ets) ->
            lists:all(fun(Spec) -> agree_all(Type, Ets, Spec) end, Specs)
        end)
    end).

%% A seed and a size; a failing case is shrunk by its size.
for_all(Case) ->
    Seed = proper_types:noshrink(proper_types:integer(0, 1 bsl 58)),
    ?FORALL({S, Size}, {Seed, proper_types:integer(0, 10)}, begin
        PropErs = rand:export_seed(),
        _ = rand:seed(exsss, S),
        try
            Case(Size)
        after
            rand:seed(PropErs)
        end
    end).

%% ---------------------------------------------------------------- both sides

queries() -> [select, select_reverse, select_count, match, match_object].

with_tables(Type, Pos, Records, Fun) ->
    Ets = ets:new(?TAB, [Type, {keypos, Pos}]),
    {ok, Server} = ferrets:start(?TAB, #{type => Type, keypos => Pos}),
    try
        true = ets:insert(Ets, Records),
        [ok = ferrets:insert(?TAB, Record) || Record <- Records],
        Fun(Ets)
    after
        ets:delete(Ets),
        ok = ferrets:stop(Server)
    end.

agree_all(Type, Ets, Spec) ->
    lists:all(fun(Query) -> agree(Type, Ets, Query, Spec) end, queries()).

agree(Type, Ets, Query, Spec) ->
    {Expected, Found} = both({Ets, ?TAB}, {Query, Spec}),
    same(Type, Expected, Found) orelse report({Type, Query}, ets:tab2list(Ets), Spec, Expected, Found).

%% `match' and `match_object' are asked about the head of the first clause.
both({Ets, Tab}, {Query, Spec}) ->
    Argument = argument(Query, Spec),
    {ask(ets, Query, [Ets, Argument]), ask(ferrets, Query, [Tab, Argument])}.

argument(Query, [{Head, _, _} | _]) when Query =:= match; Query =:= match_object -> Head;
argument(_, Spec) -> Spec.

ask(Module, Function, Arguments) ->
    ask(fun() -> apply(Module, Function, Arguments) end).

ask(Call) ->
    try
        Call()
    catch
        Class:Reason -> {exception, Class, Reason}
    end.

same(ordered_set, Expected, Found) -> exact(Expected) =:= exact(Found);
same(_, Expected, Found) when is_list(Expected), is_list(Found) -> sorted(Expected) =:= sorted(Found);
same(_, Expected, Found) -> Expected =:= Found.

exact(Term) -> term_to_binary(Term, [{minor_version, 2}]).

sorted(Terms) -> lists:sort([exact(Term) || Term <- Terms]).

report(Query, Records, Spec, Expected, Found) ->
    io:format("~p of ~p: ~p~nets:     ~p~nferrets: ~p~n", [Query, Records, Spec, Expected, Found]),
    false.

%% All chunks, and how the last one says that it is the last.
chunks(Module, Query, {Results, Continuation}, Limit) when length(Results) =< Limit ->
    [Results | chunks(Module, Query, Module:Query(Continuation), Limit)];
chunks(_Module, _Query, '$end_of_table', _Limit) ->
    [].

same_chunks(ordered_set, Expected, Found) ->
    exact(Expected) =:= exact(Found);
same_chunks(_, [_ | _] = Expected, [_ | _] = Found) ->
    Limit = length(hd(Found)),
    same(set, lists:append(Expected), lists:append(Found)) andalso
        lists:all(fun(Chunk) -> length(Chunk) =:= Limit end, lists:droplast(Found));
same_chunks(_, Expected, Found) ->
    Expected =:= Found.
