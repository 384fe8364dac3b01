%%% Writes to this node's replica alone: for `handle_down' and for repair.
%%%
%%% Nothing is sent. But linked replicas do not stay different for ever: the next comparison of digests (`compare_interval',
%%% or any join or loss of a peer) makes them alike again. A local insert then counts as any other write. A local deletion
%%% removes the record in the version that it has here, and remembers that: no peer's copy of this version comes back, and
%%% peers drop theirs; a newer record of the key stays and comes back. So when all survivors of a node's loss delete
%%% the same rows, they end alike, however their deletions and comparisons fall.
%%%
%%% All calls take a table of this node and raise `badarg' if there is none.
%%%
%%%     1> ferrets:start(sessions, #{handle_down => fun(#{remote_node := Node}) ->
%%%            ferrets_local:delete_owned(sessions, Node) end}).
-module(ferrets_local).

-export([insert/2, delete/2, delete_object/2, delete_all_objects/1, match_delete/2, select_delete/2, delete_owned/2]).

%% A record, or a list of records of which none is inserted if one is bad.
-spec insert(ferrets:table(), tuple() | [tuple()]) -> true.
insert(Tab, Records) when is_list(Records) ->
    ok = check(Tab, Records),
    all(fun ferrets_nif:local_insert/2, Tab, Records);
insert(Tab, Record) ->
    all(fun ferrets_nif:local_insert/2, Tab, [Record]).

-spec delete(ferrets:table(), ferrets:key()) -> true.
delete(Tab, Key) ->
    all(fun ferrets_nif:local_delete/2, Tab, [Key]).

%% Deletes the record if it is there as it is.
-spec delete_object(ferrets:table(), tuple()) -> true.
delete_object(Tab, Record) ->
    all(fun ferrets_nif:local_delete_objects/2, Tab, [Record]).

%% In slices: a reader may see a part of the records gone.
-spec delete_all_objects(ferrets:table()) -> true.
delete_all_objects(Tab) ->
    ferrets_walk:each_slice(fun(Records) -> all(fun ferrets_nif:local_delete_objects/2, Tab, Records) end, Tab),
    true.

%% Deletes the records that match a pattern. In slices: a reader may see a part of them gone.
-spec match_delete(ferrets:table(), ets:match_pattern()) -> true.
match_delete(Tab, Pattern) ->
    _ = select_delete(Tab, ferrets_select:deletion(Pattern)),
    true.

%% Deletes the records for which a match specification gives `true', and returns how many there were. In slices.
-spec select_delete(ferrets:table(), ets:match_spec()) -> non_neg_integer().
select_delete(Tab, Spec) ->
    ferrets_select:delete_here(fun(Records) -> all(fun ferrets_nif:local_delete_objects/2, Tab, Records) end, Tab, Spec).

%% Deletes the records that were written on a node, whatever is in them, and returns how many there were. If the node is
%% not linked, none of them comes back by any road until it is linked again.
-spec delete_owned(ferrets:table(), node()) -> non_neg_integer().
delete_owned(Tab, Node) when is_atom(Node) ->
    delete_owned(Tab, atom_to_binary(Node), start, 0).

-spec delete_owned(ferrets:table(), binary(), start | continue, non_neg_integer()) -> non_neg_integer().
delete_owned(Tab, Node, From, Count) ->
    case ferrets_nif:local_delete_owned(Tab, Node, From) of
        {more, Deleted} -> delete_owned(Tab, Node, continue, Count + Deleted);
        {done, Deleted} -> Count + Deleted
    end.

-spec check(ferrets:table(), [tuple()]) -> ok.
check(Tab, Records) ->
    case ferrets_nif:check(Tab, record, Records) of
        ok -> ok;
        {more, Rest} -> check(Tab, Rest)
    end.

-spec all(fun((ferrets:table(), list()) -> ok | {more, list()}), ferrets:table(), list()) -> true.
all(Write, Tab, List) ->
    case Write(Tab, List) of
        ok -> true;
        {more, Rest} -> all(Write, Tab, Rest)
    end.
