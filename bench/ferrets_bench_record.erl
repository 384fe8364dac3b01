%%% What the tables are filled with, and in which order.
%%%
%%% A *plain* record is `{{Node, I}, <<64 bytes>>}', of three nodes in turn. A *session* is what a chat server keeps of a
%%% user's connection: `{{Server, User, Resource, {Stamp, Pid}}, Prio, Info}', ten resources for each user.
%%%
%%% Numbers come in an order that is random and the same in each run. Whatever a timed loop needs is made once and kept in
%%% `persistent_term': such terms are not copied when they are read and are of no concern to the garbage collector.
-module(ferrets_bench_record).

-export([record/2, records/2, key/2, node_name/1, user_pattern/1]).
-export([order/1, other_order/1, each_thousand/2, keys/4, all_records/2, lists_of_records/4]).
-export([kept/2]).

-export_type([kind/0]).

%% `term_10k': a key and 10 KB of small terms. `binary_100k': a key and one binary, which is shared and not copied.
-type kind() :: plain | session | term_10k | binary_100k.

-define(SERVER, <<"example.org">>).
-define(RESOURCES, 10).
%% Of how many rounds the keys differ.
-define(KEY_PARTS, 10).

-spec record(kind(), pos_integer()) -> tuple().
record(plain, I) ->
    {key(plain, I), <<I:512>>};
record(session, I) ->
    {key(session, I), I rem 7, #{ip => {10, I rem 256, I rem 199, 1}, since => 1_700_000_000 + I}};
record(term_10k, I) ->
    %% 640 numbers in lists of eight: 16 words for each list, 80 lists.
    {I, [lists:seq(I + N, I + N + 7) || N <- lists:seq(1, 80)]};
record(binary_100k, I) ->
    {I, binary:copy(<<I:64>>, 12_500)}.

-spec records(kind(), [pos_integer()]) -> [tuple()].
records(Kind, Numbers) ->
    [record(Kind, I) || I <- Numbers].

-spec key(kind(), integer()) -> term().
key(plain, I) ->
    {node_name(I), I};
key(session, I) ->
    User = <<"user", (integer_to_binary(I div ?RESOURCES))/binary>>,
    Resource = <<"phone", (integer_to_binary(I rem ?RESOURCES))/binary>>,
    {?SERVER, User, Resource, {1_700_000_000_000_000 + I * 1_001, self()}};
key(_, I) ->
    I.

-spec node_name(integer()) -> node().
node_name(I) ->
    element(1 + abs(I) rem 3, {'amber@bench', 'birch@bench', 'cedar@bench'}).

%% All sessions of the user who has the session of this number.
-spec user_pattern(pos_integer()) -> ets:match_pattern().
user_pattern(I) ->
    {{Server, User, _, _}, _, _} = record(session, I),
    {{Server, User, '_', '_'}, '_', '_'}.

%% ---------------------------------------------------------------- orders

%% The numbers up to this one, in random order.
-spec order(pos_integer()) -> [pos_integer()].
order(Size) -> shuffled(Size, 1).

%% In another random order: tables are filled in this one. Who reads in the order in which records came would find many side by
%% side in memory that nothing but this order has put there.
-spec other_order(pos_integer()) -> [pos_integer()].
other_order(Size) -> shuffled(Size, 2).

-spec shuffled(pos_integer(), Seed :: pos_integer()) -> [pos_integer()].
shuffled(Size, Seed) ->
    kept({order, Size, Seed}, fun() ->
        {Tagged, _} = lists:mapfoldl(
            fun(I, State) ->
                {Random, State1} = rand:uniform_s(State),
                {{Random, I}, State1}
            end,
            rand:seed_s(exsss, {Seed, Size, 0}),
            lists:seq(1, Size)
        ),
        [I || {_, I} <- lists:sort(Tagged)]
    end).

%% The numbers up to this one, thousands of them, a thousand at a time. Random enough: each thousand is strewn over all, in
%% random order; and no list of all numbers is ever made, which would leave more garbage behind than a table weighs.
-spec each_thousand(fun(([pos_integer()]) -> term()), pos_integer()) -> ok.
each_thousand(Fun, Size) when Size rem 1_000 =:= 0 ->
    Step = Size div 1_000,
    Strewn = order(1_000),
    lists:foreach(fun(First) -> Fun([First + Step * (N - 1) || N <- Strewn]) end, order(Step)).

%% So many keys of a table of this size, other ones in each round: otherwise those of the last would still be in the
%% processor's caches. Where a table has fewer keys than a round needs, all of them: they are in its caches anyhow.
-spec keys(kind(), Size :: pos_integer(), Count :: pos_integer(), Round :: non_neg_integer()) -> [term(), ...].
keys(Kind, Size, Count, Round) ->
    %% A tuple, so that any part is at hand at once.
    Parts = kept({keys, Kind, Size, Count}, fun() ->
        Numbers = lists:sublist(order(Size), max(1, min(?KEY_PARTS, Size div Count)) * Count),
        list_to_tuple([[key(Kind, I) || I <- Part] || Part <- ferrets_bench_timing:chunks(Count, Numbers)])
    end),
    element(1 + Round rem tuple_size(Parts), Parts).

%% All records of a table of this size.
-spec all_records(kind(), Size :: pos_integer()) -> [tuple()].
all_records(Kind, Size) ->
    kept({records, Kind, Size}, fun() -> records(Kind, order(Size)) end).

%% So many lists of so many records each, of a table of this size.
-spec lists_of_records(kind(), Size :: pos_integer(), Lists :: pos_integer(), Length :: pos_integer()) -> [[tuple()]].
lists_of_records(Kind, Size, Lists, Length) ->
    kept({lists, Kind, Size, Lists, Length}, fun() ->
        Count = Lists * Length,
        Numbers = lists:append(lists:duplicate(1 + Count div Size, order(Size))),
        ferrets_bench_timing:chunks(Length, records(Kind, lists:sublist(Numbers, Count)))
    end).

%% ---------------------------------------------------------------- kept

%% What the fun returns; it is called once in a node.
-spec kept(term(), fun(() -> Term)) -> Term.
kept(Name, Make) ->
    try
        persistent_term:get({?MODULE, Name})
    catch
        error:badarg ->
            ok = ferrets_bench_timing:aside(fun() -> persistent_term:put({?MODULE, Name}, Make()) end),
            persistent_term:get({?MODULE, Name})
    end.
