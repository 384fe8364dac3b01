%%% Asks whether replicas are equal, and makes them so.
%%%
%%% Equal digests are proof (but for one chance in 2^64): the servers held the same records in the same versions when they
%%% were asked. Different ones prove nothing while writes are on their way, so a few moments are tried.
-module(ferrets_verify).

-export([verify/1, sync/1]).

-export_type([difference/0]).

-define(TRIES, 50).
-define(PAUSE_MS, 20).
%% How often it is looked whether a sync is over.
-define(POLL_MS, 5).

%% `digest_differs': at rest, and not equal. `not_quiet': this table was written to all the time.
-type difference() :: {digest_differs | not_quiet, #{ours := integer(), theirs := integer()}} | {server_down, term()}.

-spec verify(ferrets_address:server()) -> ok | {error, [{node(), difference()}]}.
verify(Server) ->
    verify(ferrets_address:pid_or_error(Server), ?TRIES).

-spec verify(pid(), non_neg_integer()) -> ok | {error, [{node(), difference()}]}.
verify(Server, Tries) ->
    Before = ferrets_address:call(Server, digest),
    Peers = ferrets_address:call(Server, other_pids),
    Requests = [ferrets_request:send(Peer, digest) || Peer <- Peers],
    Answers = lists:zip(Peers, ferrets_request:wait_all(Requests, infinity)),
    After = ferrets_address:call(Server, digest),
    case {[Difference || Answer <- Answers, Difference <- compare(Answer, Before, After)], Tries} of
        {[], _} ->
            ok;
        {Differences, 0} ->
            {error, Differences};
        _ ->
            timer:sleep(?PAUSE_MS),
            verify(Server, Tries - 1)
    end.

-spec compare({pid(), ferrets_request:answer(integer())}, integer(), integer()) -> [{node(), difference()}].
compare({_Peer, {reply, Digest}}, Before, After) when Digest =:= Before; Digest =:= After -> [];
compare({Peer, {reply, Digest}}, Before, After) ->
    What =
        case Before of
            After -> digest_differs;
            _ -> not_quiet
        end,
    [{node(Peer), {What, #{ours => After, theirs => Digest}}}];
compare({Peer, {error, {Reason, _}}}, _Before, _After) ->
    [{node(Peer), {server_down, Reason}}].

%% Compares with every peer now, fetches what is missing here, and has peers fetch what is missing there. Returns when this
%% server's part is done; exits as `gen_server:call' does if the server dies.
-spec sync(ferrets_address:server()) -> ok.
sync(Server) ->
    Pid = ferrets_address:pid_or_error(Server),
    ok = ferrets_address:call(Pid, sync),
    wait_for_pulls(Pid).

-spec wait_for_pulls(pid()) -> ok.
wait_for_pulls(Pid) ->
    case ferrets_address:call(Pid, pulls) of
        0 ->
            ok;
        _ ->
            timer:sleep(?POLL_MS),
            wait_for_pulls(Pid)
    end.
