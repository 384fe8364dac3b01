%%% What a table can be told: checks the options of `ferrets:start/2'.
%%%
%%% Not a store of settings: the checked options are handed to the server, which keeps them. All that is wrong with a
%%% map of options is found at once, so that a user need not repair one mistake to learn of the next. An option that
%%% this version does not know, or knows of but cannot honour, is an error and never ignored in silence.
%%%
%%%     1> ferrets_options:check(#{type => sets, keypos => 0}).
%%%     {error,[{bad_option,#{option => keypos,value => 0}},
%%%             {bad_option,#{option => type,value => sets}}]}
-module(ferrets_options).

-export([check/1]).

-export_type([options/0, checked/0, reason/0, handle_down/0, handle_conflict/0, handle_wrong_leader/0]).

%% A thousand years: far from where the library's arithmetic would end.
-define(MS_MAX, 31_556_952_000_000).

%% Called once on each surviving node when a linked server is gone.
-type handle_down() ::
    fun((#{remote_pid := pid(), remote_node := node(), table := atom(), is_leader := boolean()}) -> term()).

%% Called by the leader when two clusters are joined that have different records under one key: once per key, and its answer,
%% a record of the same key, is written everywhere. Without it the newer record stays.
-type handle_conflict() :: fun((Local :: tuple(), Remote :: tuple()) -> tuple()).
%% Called on a server that was asked for a leader operation and is not the leader.
-type handle_wrong_leader() ::
    fun((#{from := pid(), op := {ferrets_nif:operation(), tuple()}, server := pid()}) -> term()).

-type options() :: #{
    type => ordered_set | set | bag,
    keypos => pos_integer(),
    handle_down => handle_down(),
    handle_conflict => handle_conflict(),
    handle_wrong_leader => handle_wrong_leader(),
    %% Whether the records that a node wrote stay when it goes.
    on_nodedown => keep | delete_owned,
    %% Milliseconds for which a deletion outlives a netsplit.
    tombstone_ttl => non_neg_integer(),
    %% How many milliseconds a linked peer may owe an answer before it is given up, and holds up writers no longer.
    stall_timeout => pos_integer(),
    %% How many milliseconds lie between two comparisons of digests with the linked peers.
    compare_interval => pos_integer()
}.

%% All options that have a default are there.
-type checked() :: #{
    type := ordered_set | set | bag,
    keypos := pos_integer(),
    on_nodedown := keep | delete_owned,
    tombstone_ttl := non_neg_integer(),
    stall_timeout := pos_integer(),
    compare_interval := pos_integer(),
    handle_down => handle_down(),
    handle_conflict => handle_conflict(),
    handle_wrong_leader => handle_wrong_leader()
}.

-type reason() ::
    {bad_options, #{value := term()}}
    | {bad_option, #{option := atom(), value := term()}}
    | {unknown_option, #{option := term()}}
    | bag_with_conflict_handler
    | {create_failed, already_exists}.

%% Adds the defaults, or says all that is wrong, ordered by option.
-spec check(term()) -> {ok, checked()} | {error, [reason(), ...]}.
check(Options) when is_map(Options) ->
    case lists:flatmap(fun check_one/1, lists:sort(maps:to_list(Options))) ++ check_together(Options) of
        [] -> {ok, maps:merge(defaults(), Options)};
        Reasons -> {error, Reasons}
    end;
check(Options) ->
    {error, [{bad_options, #{value => Options}}]}.

-spec defaults() -> checked().
defaults() ->
    #{
        type => ordered_set,
        keypos => 1,
        on_nodedown => keep,
        tombstone_ttl => 300_000,
        stall_timeout => 10_000,
        compare_interval => 60_000
    }.

-spec check_one({term(), term()}) -> [reason()].
check_one({type, Type}) when Type =:= ordered_set; Type =:= set; Type =:= bag -> [];
check_one({keypos, Position}) when is_integer(Position), Position > 0 -> [];
check_one({handle_down, Fun}) when is_function(Fun, 1) -> [];
check_one({handle_conflict, Fun}) when is_function(Fun, 2) -> [];
check_one({handle_wrong_leader, Fun}) when is_function(Fun, 1) -> [];
check_one({on_nodedown, What}) when What =:= keep; What =:= delete_owned -> [];
check_one({tombstone_ttl, Ms}) when is_integer(Ms), Ms >= 0, Ms =< ?MS_MAX -> [];
check_one({Option, Ms}) when
    Option =:= stall_timeout orelse Option =:= compare_interval, is_integer(Ms), Ms > 0, Ms =< ?MS_MAX
->
    [];
check_one({Option, Value}) ->
    case is_known(Option) of
        true -> [{bad_option, #{option => Option, value => Value}}];
        false -> [{unknown_option, #{option => Option}}]
    end.

%% Several records of a bag share a key, so there is nothing to decide between.
-spec check_together(map()) -> [reason()].
check_together(#{type := bag, handle_conflict := _}) -> [bag_with_conflict_handler];
check_together(#{}) -> [].

-spec is_known(term()) -> boolean().
is_known(Option) ->
    lists:member(Option, [handle_down, handle_conflict, handle_wrong_leader | maps:keys(defaults())]).
