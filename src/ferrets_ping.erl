%%% Connects to a node, if that harms nobody.
%%%
%%% Since OTP 25 `global' keeps the connected nodes a full mesh (`prevent_overlapping_partitions'): a node that is
%%% connected to some of them and cannot be by others gets all of them disconnected from each other. So before it
%%% connects, a node asks those that it is connected to whether they reach the new one as well. To look is no connecting:
%%% the name is resolved and the name server (epmd) there asked for the node's port, which also tells a dead host in a few
%%% seconds, without occupying `net_kernel'.
%%%
%%% A node that has been torn from the others, because it and one of them do not reach each other, has nobody to ask. If it
%%% finds some node silent, it asks the one that it wants back whether all of *its* peers reach this one, over a hidden
%%% connection, of which `global' takes no notice, and which it gives up again. Two nodes that do so to each other at the
%%% same moment may cost each other a connection; the next try puts that right.
%%%
%%% Not a guarantee: reachability may change right after the look. A node that does not answer the question, or has no
%%% Ferrets, has no say.
%%%
%%% All calls block for as long as a host may keep silent: for processes made for it.
%%%
%%%     1> ferrets_ping:ping('b@host', [], 5000).
%%%     {pang,no_answer}
-module(ferrets_ping).

-export([ping/3]).
%% Called on other nodes.
-export([look/2, find_blind/2]).

-export_type([reason/0, silence/0]).

%% What a node looks like that is not to be had.
-type silence() ::
    %% No node's name, or its host has no address.
    unknown_host
    %% The host is silent, or no node of that name runs there.
    | no_answer
    %% It is kept out until all is cleaned up after it (`ferrets_dist_blocker').
    | blocked.

-type reason() ::
    silence()
    %% These peers of ours do not reach it.
    | {unreachable_from, [{node(), silence()}]}
    %% These peers of it do not reach us.
    | {unreachable_for, [{node(), silence()}]}
    %% It is there, but the connection was refused: another cookie, most often.
    | refused.

%% Connects to a node, unless peers of either do not reach the other. If one of the suspects is silent, the node's peers are asked.
-spec ping(node(), Suspects :: [node()], TimeoutMs :: pos_integer()) -> pong | {pang, reason()}.
ping(Node, Suspects, TimeoutMs) ->
    case look(Node, TimeoutMs) of
        connected -> pong;
        reachable -> ping_reachable(Node, Suspects, TimeoutMs);
        Reason -> {pang, Reason}
    end.

-spec ping_reachable(node(), [node()], pos_integer()) -> pong | {pang, reason()}.
ping_reachable(Node, Suspects, TimeoutMs) ->
    case find_blind(Node, TimeoutMs) of
        [] ->
            case find_blind_there(Node, Suspects, TimeoutMs) of
                [] -> connect(Node);
                Blind -> {pang, {unreachable_for, Blind}}
            end;
        Blind ->
            {pang, {unreachable_from, Blind}}
    end.

%% Those that this node is connected to and that do not reach another one.
-spec find_blind(node(), TimeoutMs :: pos_integer()) -> [{node(), silence()}].
find_blind(Node, TimeoutMs) ->
    Peers = lists:delete(Node, nodes()),
    Looks = erpc:multicall(Peers, ?MODULE, look, [Node, TimeoutMs], 2 * TimeoutMs),
    [{Peer, Reason} || {Peer, {ok, Reason}} <- lists:zip(Peers, Looks), Reason =/= connected, Reason =/= reachable].

%% The same, seen from the other node; nobody if all that one might suspect are there.
-spec find_blind_there(node(), [node()], pos_integer()) -> [{node(), silence()}].
find_blind_there(Node, Suspects, TimeoutMs) ->
    IsSilent = fun(Suspect) -> not lists:member(look(Suspect, TimeoutMs), [connected, reachable]) end,
    case lists:any(IsSilent, Suspects) andalso net_kernel:hidden_connect_node(Node) of
        true ->
            Blind = ask_for_blind(Node, TimeoutMs),
            _ = lists:member(Node, nodes(hidden)) andalso erlang:disconnect_node(Node),
            Blind;
        _ ->
            []
    end.

-spec ask_for_blind(node(), pos_integer()) -> [{node(), silence()}].
ask_for_blind(Node, TimeoutMs) ->
    try
        erpc:call(Node, ?MODULE, find_blind, [node(), TimeoutMs], 3 * TimeoutMs)
    catch
        %% It has gone again, or has no Ferrets.
        error:{erpc, _} -> [];
        error:{exception, undef, _} -> []
    end.

%% Not `net_adm:ping/1': it asks the other node's `net_kernel', which may be busy, and disconnects if that fails.
-spec connect(node()) -> pong | {pang, reason()}.
connect(Node) ->
    case net_kernel:connect_node(Node) of
        true -> pong;
        _ -> {pang, refused}
    end.

%% Whether this node reaches another one, without connecting.
-spec look(node(), TimeoutMs :: pos_integer()) -> connected | reachable | silence().
look(Node, TimeoutMs) ->
    case {lists:member(Node, nodes()), ferrets_dist_blocker:is_blocked(Node)} of
        {true, _} -> connected;
        {false, true} -> blocked;
        {false, false} -> look_up(dist_util:split_node(Node), TimeoutMs)
    end.

-spec look_up({node, string(), string()} | term(), pos_integer()) -> reachable | unknown_host | no_answer.
look_up({node, Name, Host}, TimeoutMs) ->
    %% What the distribution itself would ask (`-epmd_module').
    Epmd = net_kernel:epmd_module(),
    case Epmd:address_please(Name, Host, family(init:get_argument(proto_dist))) of
        %% It knows the port as well: there is no name server to ask.
        {ok, _Address, _Port, _Version} -> reachable;
        {ok, Address} -> look_for_port(Epmd, Name, Address, TimeoutMs);
        {error, _} -> unknown_host
    end;
look_up(_NoNode, _TimeoutMs) ->
    unknown_host.

-spec look_for_port(module(), string(), inet:ip_address(), pos_integer()) -> reachable | no_answer.
look_for_port(Epmd, Name, Address, TimeoutMs) ->
    case Epmd:port_please(Name, Address, TimeoutMs) of
        {port, _Port, _Version} -> reachable;
        _ -> no_answer
    end.

%% `inet6_tcp', `inet6_tls'.
-spec family({ok, [[string()]]} | error) -> inet | inet6.
family({ok, [["inet6" ++ _ | _] | _]}) -> inet6;
family(_) -> inet.
