%%% Which table is to be joined with which node, what is under way, and what came of it.
%%%
%%% A pure structure of `ferrets_discovery', which does the work. A pair of node and table is under way once at most; one that
%%% is wanted again meanwhile is queued again when it is done. The latest result of each pair is kept, for pairs that are
%%% still wanted.
-module(ferrets_join_queue).

-export([new/0, offer/2, next/1, done/3, keep/2]).
-export([is_idle/1, is_again_wanted/1, results/1, latest/2, is_settled/2, has_unsettled/1]).

-export_type([queue/0]).

-record(queue, {
    waiting = queue:new() :: queue:queue(ferrets_join_pair:pair()),
    %% Those that wait, to be found quickly.
    queued = #{} :: #{ferrets_join_pair:pair() => []},
    %% Whether it is to be done again.
    running = #{} :: #{ferrets_join_pair:pair() => boolean()},
    results = #{} :: #{ferrets_join_pair:pair() => ferrets_join_pair:result()}
}).

-opaque queue() :: #queue{}.

-spec new() -> queue().
new() -> #queue{}.

-spec offer([ferrets_join_pair:pair()], queue()) -> queue().
offer(Pairs, Queue) ->
    lists:foldl(fun offer_one/2, Queue, Pairs).

-spec offer_one(ferrets_join_pair:pair(), queue()) -> queue().
offer_one(Pair, #queue{waiting = Waiting, queued = Queued, running = Running} = Queue) ->
    case {is_map_key(Pair, Running), is_map_key(Pair, Queued)} of
        {true, _} -> Queue#queue{running = Running#{Pair := true}};
        {false, true} -> Queue;
        {false, false} -> Queue#queue{waiting = queue:in(Pair, Waiting), queued = Queued#{Pair => []}}
    end.

%% The pair to begin with now, which is under way from here on.
-spec next(queue()) -> {ferrets_join_pair:pair(), queue()} | empty.
next(#queue{waiting = Waiting, queued = Queued, running = Running} = Queue) ->
    case queue:out(Waiting) of
        {{value, Pair}, Rest} ->
            {Pair, Queue#queue{waiting = Rest, queued = maps:remove(Pair, Queued), running = Running#{Pair => false}}};
        {empty, _} ->
            empty
    end.

%% A pair is done. The result of one that is not wanted any more is dropped.
-spec done(ferrets_join_pair:pair(), ferrets_join_pair:result() | unwanted, queue()) -> queue().
done(Pair, unwanted, #queue{running = Running, results = Results} = Queue) ->
    Queue#queue{running = maps:remove(Pair, Running), results = maps:remove(Pair, Results)};
done(Pair, Result, #queue{running = Running, results = Results} = Queue) ->
    {IsAgain, Rest} = maps:take(Pair, Running),
    Done = Queue#queue{running = Rest, results = Results#{Pair => Result}},
    case IsAgain of
        true -> offer_one(Pair, Done);
        false -> Done
    end.

%% Forgets all pairs but these. What is under way goes on.
-spec keep(fun((ferrets_join_pair:pair()) -> boolean()), queue()) -> queue().
keep(IsWanted, #queue{waiting = Waiting, queued = Queued, running = Running, results = Results} = Queue) ->
    Queue#queue{
        waiting = queue:filter(IsWanted, Waiting),
        queued = maps:filter(fun(Pair, _) -> IsWanted(Pair) end, Queued),
        running = maps:map(fun(Pair, IsAgain) -> IsAgain andalso IsWanted(Pair) end, Running),
        results = maps:filter(fun(Pair, _) -> IsWanted(Pair) end, Results)
    }.

-spec is_idle(queue()) -> boolean().
is_idle(#queue{queued = Queued, running = Running}) ->
    map_size(Queued) =:= 0 andalso map_size(Running) =:= 0.

-spec is_again_wanted(queue()) -> boolean().
is_again_wanted(#queue{running = Running}) ->
    lists:member(true, maps:values(Running)).

-spec results(queue()) -> [ferrets_join_pair:result()].
results(#queue{results = Results}) ->
    [Result || {_, Result} <- lists:sort(maps:to_list(Results))].

-spec latest(ferrets_join_pair:pair(), queue()) -> ferrets_join_pair:result() | undefined.
latest(Pair, #queue{results = Results}) ->
    maps:get(Pair, Results, undefined).

%% Whether a pair's latest result stands: they are joined, or the node has no such table. Anything else is to be tried again.
-spec is_settled(ferrets_join_pair:pair(), queue()) -> boolean().
is_settled(Pair, #queue{results = Results}) ->
    case Results of
        #{Pair := Result} -> is_settled(Result);
        #{} -> false
    end.

-spec has_unsettled(queue()) -> boolean().
has_unsettled(#queue{results = Results}) ->
    not lists:all(fun is_settled/1, maps:values(Results)).

-spec is_settled(ferrets_join_pair:result()) -> boolean().
is_settled(#{result := ok}) -> true;
is_settled(#{result := {error, already_joined}}) -> true;
is_settled(#{what := pid_not_found, reason := undefined}) -> true;
is_settled(#{}) -> false.
