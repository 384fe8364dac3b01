%%% Work that a server has done by processes of its own, so that it never waits.
%%%
%%% A task is a process linked to the server, which must trap exits. It ends by an exit that bears its result; a function
%%% that raises ends its task and nothing else; one that takes too long is killed. Each task has a label, of which at most
%%% one is under way. Tasks end with their server, however that ends.
%%%
%%% No pool and no queue: whoever starts a thousand tasks has a thousand processes.
%%%
%%%     Tasks1 = ferrets_tasks:start(answer, fun() -> 6 * 7 end, 1000, ferrets_tasks:new()),
%%%     receive Message -> {done, answer, {ok, 42}, Tasks2} = ferrets_tasks:handle(Message, Tasks1) end
-module(ferrets_tasks).

-export([new/0, start/4, is_running/2, labels/1, handle/2]).

-export_type([tasks/1, outcome/0, failure/0]).

-record(tasks, {
    by_pid = #{} :: #{pid() => {Label :: term(), Timer :: reference() | undefined}}
}).

-opaque tasks(_Label) :: #tasks{}.
-type outcome() :: {ok, term()} | {error, failure()}.
-type failure() ::
    {raised, #{class := error | exit | throw, reason := term(), stacktrace := list()}}
    %% Somebody else ended the task's process.
    | {killed, term()}
    | timeout.

-spec new() -> tasks(_).
new() ->
    #tasks{}.

%% Starts a task. Its end comes to the server as a message, for `handle/2'.
-spec start(Label, fun(() -> term()), timeout(), tasks(Label)) -> tasks(Label).
start(Label, Fun, TimeoutMs, #tasks{by_pid = ByPid} = Tasks) ->
    Pid = spawn_link(fun() -> exit({ferrets_task, run(Fun)}) end),
    Tasks#tasks{by_pid = ByPid#{Pid => {Label, start_timer(TimeoutMs, Pid)}}}.

-spec start_timer(timeout(), pid()) -> reference() | undefined.
start_timer(infinity, _Pid) -> undefined;
start_timer(TimeoutMs, Pid) -> erlang:start_timer(TimeoutMs, self(), {ferrets_task_late, Pid}).

-spec run(fun(() -> term())) -> outcome().
run(Fun) ->
    try
        {ok, Fun()}
    catch
        Class:Reason:Stack -> {error, {raised, #{class => Class, reason => Reason, stacktrace => Stack}}}
    end.

-spec is_running(Label, tasks(Label)) -> boolean().
is_running(Label, Tasks) ->
    lists:member(Label, labels(Tasks)).

-spec labels(tasks(Label)) -> [Label].
labels(#tasks{by_pid = ByPid}) ->
    [Label || {Label, _} <- maps:values(ByPid)].

%% What a message to the server says of a task, if anything.
-spec handle(Message :: term(), tasks(Label)) -> {done, Label, outcome(), tasks(Label)} | unknown.
handle({'EXIT', Pid, Reason}, #tasks{by_pid = ByPid}) when is_map_key(Pid, ByPid) ->
    Outcome =
        case Reason of
            {ferrets_task, Result} -> Result;
            _ -> {error, {killed, Reason}}
        end,
    done(Pid, Outcome, ByPid);
handle({timeout, _Timer, {ferrets_task_late, Pid}}, #tasks{by_pid = ByPid}) when is_map_key(Pid, ByPid) ->
    true = unlink(Pid),
    true = exit(Pid, kill),
    %% It may have ended at the same moment.
    receive {'EXIT', Pid, {ferrets_task, Result}} -> done(Pid, Result, ByPid)
    after 0 -> done(Pid, {error, timeout}, ByPid)
    end;
handle(_Message, _Tasks) ->
    unknown.

-spec done(pid(), outcome(), #{pid() => {term(), reference() | undefined}}) ->
    {done, term(), outcome(), tasks(term())}.
done(Pid, Outcome, ByPid) ->
    {{Label, Timer}, Rest} = maps:take(Pid, ByPid),
    stop_timer(Timer),
    {done, Label, Outcome, #tasks{by_pid = Rest}}.

%% With the message that it may have sent already.
-spec stop_timer(reference() | undefined) -> ok.
stop_timer(undefined) ->
    ok;
stop_timer(Timer) ->
    case erlang:cancel_timer(Timer) of
        false -> receive {timeout, Timer, _} -> ok after 0 -> ok end;
        _ -> ok
    end.
