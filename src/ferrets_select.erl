%%% Queries by pattern and match specification, in the caller's process, slice by slice.
%%%
%%% A query is a loop over `ferrets_nif:select/4' and `select_on/5', each call of which is short. It looks at the records where
%%% they stand and copies results only. It is no snapshot: of what is written meanwhile it may find or miss anything, but a
%%% record that is there throughout is looked at exactly once.
%%%
%%% A continuation is good on its node, for as long as its table lives, and any number of times.
-module(ferrets_select).

-export([all/3, chunk/4, continue/1, count/2, delete/2, delete_here/3]).
-export([matching/1, objects/1, deletion/1]).

-export_type([spec/0, pattern/0, continuation/0]).

-type spec() :: ets:match_spec().
-type pattern() :: ets:match_pattern().
-type continuation() :: '$end_of_table' | tuple().

%% So many requests to delete are under way at once.
-define(REQUESTS_MAX, 32).

-record(ferrets_continuation, {
    tab :: atom(),
    mode :: forward | backward,
    limit :: pos_integer(),
    %% Found, but beyond the last chunk's limit.
    rest :: [term()],
    next :: done | {ferrets_nif:position(), ferrets_nif:program()}
}).

%% ---------------------------------------------------------------- patterns are specifications

%% What the variables of a pattern are bound to.
-spec matching(pattern()) -> spec().
matching(Pattern) -> [{Pattern, [], ['$$']}].

%% The records that match.
-spec objects(pattern()) -> spec().
objects(Pattern) -> [{Pattern, [], ['$_']}].

%% Marks what matches for `delete/2'.
-spec deletion(pattern()) -> spec().
deletion(Pattern) -> [{Pattern, [], [true]}].

%% ---------------------------------------------------------------- reading

%% Goes against the order that is wanted, as a list grows at its front: to append slices would hold a scheduler for longer
%% than all else.
-spec all(atom(), spec(), forward | backward) -> [term()].
all(Tab, Spec, forward) -> gather(Tab, Spec, backward);
all(Tab, Spec, backward) -> gather(Tab, Spec, forward).

-spec gather(atom(), spec(), forward | backward) -> [term()].
gather(Tab, Spec, Mode) ->
    gather_on(ferrets_nif:select(Tab, Spec, Mode, []), Tab, Mode).

-spec gather_on(ferrets_nif:selected(), atom(), forward | backward) -> [term()].
gather_on({done, _, Found}, _Tab, _Mode) ->
    Found;
gather_on({more, _, Found, Position, Program}, Tab, Mode) ->
    gather_on(ferrets_nif:select_on(Tab, Program, Position, Mode, Found), Tab, Mode).

-spec count(atom(), spec()) -> non_neg_integer().
count(Tab, Spec) ->
    count_on(ferrets_nif:select(Tab, Spec, count, infinity), Tab, 0).

-spec count_on(ferrets_nif:selected(), atom(), non_neg_integer()) -> non_neg_integer().
count_on({done, Count, _}, _Tab, Sum) ->
    Sum + Count;
count_on({more, Count, _, Position, Program}, Tab, Sum) ->
    count_on(ferrets_nif:select_on(Tab, Program, Position, count, infinity), Tab, Sum + Count).

%% ---------------------------------------------------------------- reading by chunks

-spec chunk(atom(), spec(), forward | backward, pos_integer()) -> {[term()], continuation()} | '$end_of_table'.
chunk(Tab, Spec, Mode, Limit) when is_integer(Limit), Limit > 0 ->
    Continuation = #ferrets_continuation{tab = Tab, mode = Mode, limit = Limit, rest = [], next = done},
    fill(ferrets_nif:select(Tab, Spec, Mode, Limit), [], 0, Continuation);
chunk(_Tab, _Spec, _Mode, _Limit) ->
    error(badarg).

-spec continue(continuation()) -> {[term()], continuation()} | '$end_of_table'.
continue('$end_of_table') ->
    '$end_of_table';
continue(#ferrets_continuation{tab = Tab, mode = Mode, limit = Limit, rest = Rest, next = Next} = Continuation) ->
    case {length(Rest), Next} of
        {Count, {Position, Program}} when Count < Limit ->
            Selected = ferrets_nif:select_on(Tab, Program, Position, Mode, Limit - Count),
            fill(Selected, [Rest], Count, Continuation);
        {Count, _} when Count >= Limit; Next =:= done ->
            %% Raises `badarg' if the table is gone.
            _ = ferrets_nif:size(Tab),
            cut(Rest, Count, Continuation);
        _ ->
            error(badarg)
    end;
continue(_) ->
    error(badarg).

%% Collects slices, the latest first, until there are enough results.
-spec fill(ferrets_nif:selected(), [[term()]], non_neg_integer(), #ferrets_continuation{}) ->
    {[term()], continuation()} | '$end_of_table'.
fill({done, Count, Found}, Slices, Sum, Continuation) ->
    cut(join([Found | Slices]), Sum + Count, Continuation#ferrets_continuation{next = done});
fill({more, Count, Found, Position, Program}, Slices, Sum, #ferrets_continuation{limit = Limit} = Continuation) when
    Sum + Count >= Limit
->
    cut(join([Found | Slices]), Sum + Count, Continuation#ferrets_continuation{next = {Position, Program}});
fill({more, Count, Found, Position, Program}, Slices, Sum, Continuation) ->
    #ferrets_continuation{tab = Tab, mode = Mode, limit = Limit} = Continuation,
    Selected = ferrets_nif:select_on(Tab, Program, Position, Mode, Limit - Sum - Count),
    fill(Selected, [Found | Slices], Sum + Count, Continuation).

%% The VM takes `++' for cheaper than it is where the list is not in the cache.
-spec join([[term()]]) -> [term()].
join(Slices) ->
    Append = fun(Slice, Later) ->
        true = erlang:bump_reductions(length(Slice)),
        Slice ++ Later
    end,
    lists:foldl(Append, [], Slices).

%% Records that share a hash are found together, and may be more than the limit: the others wait.
-spec cut([term()], non_neg_integer(), #ferrets_continuation{}) -> {[term()], continuation()} | '$end_of_table'.
cut([], 0, #ferrets_continuation{next = done}) ->
    '$end_of_table';
cut(Found, Count, #ferrets_continuation{limit = Limit} = Continuation) when Count > Limit ->
    {Chunk, Rest} = lists:split(Limit, Found),
    {Chunk, Continuation#ferrets_continuation{rest = Rest}};
cut(Found, _Count, #ferrets_continuation{next = done}) ->
    {Found, '$end_of_table'};
cut(Found, _Count, Continuation) ->
    {Found, Continuation#ferrets_continuation{rest = []}}.

%% ---------------------------------------------------------------- deleting

%% Finds what gives `true' on the server's node, and deletes it there and on every linked node, in the versions that are
%% seen there. Returns how many were found.
-spec delete(ferrets_address:server(), spec()) -> non_neg_integer().
delete(Server, Spec) ->
    case ferrets_address:find(Server) of
        {local, Tab} -> delete_replicated(Tab, Spec);
        {remote, Pid} -> delete_remote(Pid, Spec);
        undefined -> exit_call(noproc, Server, Spec)
    end.

%% The requests take effect one after the other, and what they delete is found meanwhile.
-spec delete_replicated(atom(), spec()) -> non_neg_integer().
delete_replicated(Tab, Spec) ->
    Delete = fun(Records, Requests) ->
        Request = ferrets_write:request(Tab, delete_objects, Records),
        settle(queue:in(Request, Requests), ?REQUESTS_MAX, Tab, Spec)
    end,
    try each_slice(Delete, queue:new(), Tab, Spec) of
        {Count, Requests} ->
            _ = settle(Requests, 0, Tab, Spec),
            Count
    catch
        error:badarg ->
            case whereis(Tab) of
                undefined -> exit_call(noproc, Tab, Spec);
                _ -> error(badarg)
            end
    end.

%% Waits until no more than so many requests are under way.
-spec settle(queue:queue(ferrets_request:id()), non_neg_integer(), atom(), spec()) -> queue:queue(ferrets_request:id()).
settle(Requests, Max, Tab, Spec) ->
    case queue:len(Requests) > Max of
        false ->
            Requests;
        true ->
            {{value, Request}, Others} = queue:out(Requests),
            case ferrets_request:wait(Request, infinity) of
                {reply, ok} -> settle(Others, Max, Tab, Spec);
                {error, {Reason, _}} -> exit_call(Reason, Tab, Spec)
            end
    end.

%% What matches has to be found where the server is.
-spec delete_remote(pid(), spec()) -> non_neg_integer().
delete_remote(Server, Spec) ->
    try
        erpc:call(node(Server), ferrets, select_delete, [Server, Spec])
    catch
        error:{exception, badarg, _} -> error(badarg);
        error:{erpc, Reason} -> exit_call(Reason, Server, Spec);
        exit:{exception, Reason} -> exit(Reason)
    end.

%% Finds what gives `true' and has it deleted by a function that takes a list of records. Returns how many were found.
-spec delete_here(fun(([tuple()]) -> term()), atom(), spec()) -> non_neg_integer().
delete_here(Delete, Tab, Spec) ->
    {Count, _} = each_slice(fun(Records, _) -> Delete(Records) end, [], Tab, Spec),
    Count.

-spec each_slice(fun(([tuple(), ...], Acc) -> Acc), Acc, atom(), spec()) -> {non_neg_integer(), Acc}.
each_slice(Fun, Acc, Tab, Spec) ->
    each_slice(Fun, Acc, Tab, ferrets_nif:select(Tab, Spec, hits, infinity), 0).

-spec each_slice(fun(([tuple(), ...], Acc) -> Acc), Acc, atom(), ferrets_nif:selected(), non_neg_integer()) ->
    {non_neg_integer(), Acc}.
each_slice(Fun, Acc, _Tab, {done, Count, Records}, Sum) ->
    {Sum + Count, use(Fun, Records, Acc)};
each_slice(Fun, Acc, Tab, {more, Count, Records, Position, Program}, Sum) ->
    Used = use(Fun, Records, Acc),
    each_slice(Fun, Used, Tab, ferrets_nif:select_on(Tab, Program, Position, hits, infinity), Sum + Count).

-spec use(fun(([tuple(), ...], Acc) -> Acc), [tuple()], Acc) -> Acc.
use(_Fun, [], Acc) -> Acc;
use(Fun, Records, Acc) -> Fun(Records, Acc).

-spec exit_call(term(), ferrets_address:server(), spec()) -> no_return().
exit_call(Reason, Server, Spec) ->
    exit({Reason, {gen_server, call, [Server, {select_delete, Spec}]}}).
