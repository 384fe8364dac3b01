%%% Leader operations, in the caller's process: inserts whose outcome depends on what is there.
%%%
%%% The question goes to the table's own server, which sends it, with all others of that moment, to the leader; the answer
%%% comes when the leader's write is on every linked node. A server that is not the leader, or not yet linked with the same
%%% servers, does nothing and says so: then the caller tries again, later and later, for about 15 s.
%%%
%%% Not exactly once: if the leader or the own server is lost before the answer, the caller exits and nobody knows.
-module(ferrets_leader_op).

-export([call/3]).

-export_type([answer/0]).

%% 15.6 s in all: longer than a join needs to link its servers, shorter than callers are ready to wait.
-define(BACKOFF_MS, [10, 40, 100, 500, 1000, 2000, 4000, 8000]).

-type answer() :: inserted | present | {found, [tuple()]}.

%% Raises `badarg' for a bad record, `send_leader_op_failed' if nobody takes the operation; exits as `gen_server:call'
%% does if the server dies, and with `leader_lost' for its reason if the leader does.
-spec call(ferrets_address:server(), ferrets_nif:operation(), tuple()) -> answer().
call(Server, Operation, Record) when is_tuple(Record) ->
    call(Server, Operation, Record, ?BACKOFF_MS);
call(_Server, _Operation, _Record) ->
    error(badarg).

-spec call(ferrets_address:server(), ferrets_nif:operation(), tuple(), [pos_integer()]) -> answer().
call(Server, Operation, Record, Backoff) ->
    case {ask(Server, Operation, Record), Backoff} of
        {inserted, _} ->
            inserted;
        {present, _} ->
            present;
        {{found, External}, _} ->
            {found, [binary_to_term(Found) || Found <- External]};
        {malformed, _} ->
            error(badarg);
        {wrong_leader, [Ms | Longer]} ->
            timer:sleep(Ms),
            call(Server, Operation, Record, Longer);
        {wrong_leader, []} ->
            error(send_leader_op_failed);
        {leader_lost, _} ->
            exit_call(leader_lost, Server, Operation, Record)
    end.

-spec ask(ferrets_address:server(), ferrets_nif:operation(), tuple()) -> ferrets_nif:answer().
ask(Server, Operation, Record) ->
    case ferrets_address:pid(Server) of
        undefined -> exit_call(noproc, Server, Operation, Record);
        Pid when node(Pid) =:= node() -> ask_here(Server, Operation, Record);
        Pid -> ask_there(Server, Pid, Operation, Record)
    end.

%% The library wakes the server, and sends the answer or what `ferrets_witness' knows: no message leaves the caller. As for a
%% write, the `receive' stands with its reference.
-spec ask_here(ferrets_address:server(), ferrets_nif:operation(), tuple()) -> ferrets_nif:answer().
ask_here(Server, Operation, Record) ->
    Reference = make_ref(),
    case hand_over(Server, Operation, Record, {Reference, ok}) of
        wait ->
            receive
                {Reference, {down, Reason}} -> exit_call(Reason, Server, Operation, Record);
                {Reference, Answer} -> Answer
            end;
        refused ->
            refuse(Server, Operation, Record)
    end.

-spec hand_over(ferrets_address:server(), ferrets_nif:operation(), tuple(), ferrets_nif:tag()) -> wait | refused.
hand_over(Server, Operation, Record, Tag) ->
    try
        {local, Tab} = ferrets_address:find(Server),
        wait = ferrets_nif:ask(Tab, Operation, Record, Tag)
    catch
        error:Reason when Reason =:= badarg; Reason =:= {badmatch, undefined} -> refused
    end.

-spec ask_there(ferrets_address:server(), pid(), ferrets_nif:operation(), tuple()) -> ferrets_nif:answer().
ask_there(Server, Pid, Operation, Record) ->
    case ferrets_request:wait(ferrets_request:send(Pid, {ask, Operation, Record}), infinity) of
        {reply, Answer} -> Answer;
        {error, {badarg, _}} -> error(badarg);
        {error, {Reason, _}} -> exit_call(Reason, Server, Operation, Record)
    end.

-spec refuse(ferrets_address:server(), ferrets_nif:operation(), tuple()) -> no_return().
refuse(Server, Operation, Record) ->
    case ferrets_address:pid(Server) of
        undefined -> exit_call(noproc, Server, Operation, Record);
        _ -> error(badarg)
    end.

-spec exit_call(term(), ferrets_address:server(), ferrets_nif:operation(), tuple()) -> no_return().
exit_call(Reason, Server, Operation, Record) ->
    exit({Reason, {gen_server, call, [Server, {Operation, Record}]}}).
