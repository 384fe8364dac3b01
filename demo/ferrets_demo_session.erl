%%% Runs in each node of the demo: live session processes, as a chat server has them, and the table that they are in.
%%%
%%% A row is `{{Server, User, Resource}, Pid, Info}'. A session writes its own row when it comes online, and answers to
%%% whoever found its pid in the table, on whatever node.
-module(ferrets_demo_session).

-export([start_table/0, join/1, table_pid/0]).
-export([users/2, log_in/2, log_out/1, ask/1, count_with_info/2, count_present/1]).
-export([rows/0, fingerprint/0, downs/0, remove_sessions_of/1]).
-export([node_down/1]).

-export_type([key/0]).

-type key() :: {Server :: binary(), User :: binary(), Resource :: binary()}.

-define(TABLE, sessions).
-define(JANITOR, ferrets_demo_janitor).

%% ---------------------------------------------------------------- the table

-spec start_table() -> ok.
start_table() ->
    {ok, _} = application:ensure_all_started(ferrets),
    true = register(?JANITOR, spawn(fun() -> janitor([]) end)),
    {ok, _} = ferrets:start(?TABLE, #{handle_down => fun ?MODULE:node_down/1}),
    ok.

-spec table_pid() -> pid().
table_pid() -> whereis(?TABLE).

-spec join(Remote :: pid()) -> ok | {error, term()}.
join(Remote) ->
    ferrets_join:join(ferrets_demo, #{}, whereis(?TABLE), Remote).

-spec rows() -> non_neg_integer().
rows() -> ferrets:size(?TABLE).

%% Of every row in the table. Pids look the same from every node.
-spec fingerprint() -> binary().
fingerprint() ->
    Rows = lists:sort(ferrets:tab2list(?TABLE)),
    binary:part(binary:encode_hex(erlang:md5(term_to_binary(Rows, [deterministic]))), 0, 12).

%% ---------------------------------------------------------------- sessions

%% Names of users, so many, from this number on.
-spec users(From :: non_neg_integer(), Count :: non_neg_integer()) -> [key()].
users(From, Count) ->
    [{<<"example.org">>, <<"user", (integer_to_binary(N))/binary>>, <<"phone">>} || N <- lists:seq(From, From + Count - 1)].

%% All at once, a process each. Returns when every write is acknowledged, and the milliseconds that took.
-spec log_in([key()], Info :: map()) -> non_neg_integer().
log_in(Keys, Info) ->
    Self = self(),
    Start = erlang:monotonic_time(),
    Pids = [spawn(fun() -> session(Self, Key, Info) end) || Key <- Keys],
    [receive {online, Pid} -> ok end || Pid <- Pids],
    since(Start).

-spec session(pid(), key(), map()) -> no_return().
session(Parent, Key, Info) ->
    ok = ferrets:insert(?TABLE, {Key, self(), Info}),
    Parent ! {online, self()},
    serve(Key).

-spec serve(key()) -> no_return().
serve(Key) ->
    receive
        {who_are_you, From, Ref} -> From ! {Ref, Key}
    end,
    serve(Key).

-spec log_out([key()]) -> non_neg_integer().
log_out(Keys) ->
    Start = erlang:monotonic_time(),
    [ok = ferrets:delete(?TABLE, Key) || Key <- Keys],
    since(Start).

%% Looks each user up here, and sends a message to the pid that the row names. Returns how many answered.
-spec ask([key()]) -> non_neg_integer().
ask(Keys) ->
    Asked = [ask_one(Key) || Key <- Keys],
    length([Ref || {Ref, Key} <- Asked, receive {Ref, Key} -> true after 2000 -> false end]).

-spec ask_one(key()) -> {reference(), key()}.
ask_one(Key) ->
    Ref = make_ref(),
    case ferrets:lookup(?TABLE, Key) of
        [{Key, Pid, _Info}] -> Pid ! {who_are_you, self(), Ref};
        [] -> not_there
    end,
    {Ref, Key}.

-spec count_with_info([key()], map()) -> non_neg_integer().
count_with_info(Keys, Info) ->
    length([Key || Key <- Keys, [{_, _, Found}] <- [ferrets:lookup(?TABLE, Key)], Found =:= Info]).

-spec count_present([key()]) -> non_neg_integer().
count_present(Keys) ->
    length([Key || Key <- Keys, ferrets:lookup(?TABLE, Key) =/= []]).

%% ---------------------------------------------------------------- a node went

%% The table's `handle_down'. A chat server gives its users a moment to come back before it removes their sessions.
-spec node_down(map()) -> ok.
node_down(#{remote_node := Node, is_leader := IsLeader}) ->
    ?JANITOR ! {down, Node, IsLeader},
    ok.

%% Which nodes this one was told to be gone, and whether it is the one to clean up.
-spec downs() -> [{node(), IsLeader :: boolean()}].
downs() ->
    ?JANITOR ! {downs, self()},
    receive {downs, Downs} -> Downs end.

-spec remove_sessions_of(node()) -> Count :: non_neg_integer().
remove_sessions_of(Node) ->
    Keys = [Key || {Key, Pid, _Info} <- ferrets:tab2list(?TABLE), node(Pid) =:= Node],
    ok = ferrets:delete_many(?TABLE, Keys),
    length(Keys).

-spec janitor([{node(), boolean()}]) -> no_return().
janitor(Downs) ->
    receive
        {down, Node, IsLeader} ->
            janitor([{Node, IsLeader} | Downs]);
        {downs, From} ->
            From ! {downs, Downs},
            janitor(Downs)
    end.

-spec since(integer()) -> non_neg_integer().
since(Start) ->
    erlang:convert_time_unit(erlang:monotonic_time() - Start, native, millisecond).
