%%% What discovery can be told: checks the options of `ferrets_discovery:start/1'.
%%%
%%% All that is wrong is found at once. What discovery does not know itself belongs to the backend: one that exports
%%% `check_options/1' says what is wrong with it, one that does not gets it unseen.
%%%
%%%     1> ferrets_discovery_options:check(#{tables => sessions, disco_file => 7}).
%%%     {error,[{bad_option,#{option => tables,value => sessions}},
%%%             {bad_option,#{option => disco_file,value => 7}}]}
-module(ferrets_discovery_options).

-export([check/1]).
%% For backends.
-export([check_backend/2]).

-export_type([options/0, checked/0, reason/0, retry_type/0]).

-type retry_type() :: initial | after_error | regular | after_nodedown.

-type options() :: #{
    %% The name to be registered under, the same on all nodes. Without one nobody can ask for `ferrets_status:status/1'.
    name => atom(),
    tables => [ferrets:table()],
    backend_module => module(),
    %% How many milliseconds lie between two questions to the backend, while all is new, after an error, after a node
    %% went, and otherwise. What is not given is as ever.
    retry_intervals => #{retry_type() => pos_integer()},
    %% For how many milliseconds all is new.
    initial_phase => non_neg_integer(),
    %% How many milliseconds the backend may take.
    get_nodes_timeout => pos_integer(),
    %% How many milliseconds a host may take to say whether a node runs there.
    ping_timeout => pos_integer(),
    %% The backend's.
    _ => term()
}.

-type checked() :: #{
    name => atom(),
    tables := ordsets:ordset(ferrets:table()),
    backend_module := module(),
    retry_intervals := #{retry_type() := pos_integer()},
    initial_phase := non_neg_integer(),
    get_nodes_timeout := pos_integer(),
    ping_timeout := pos_integer(),
    _ => term()
}.

-type reason() ::
    {bad_options, #{value := term()}}
    | {bad_option, #{option := atom(), value := term()}}
    | {missing_option, #{option := atom()}}
    | {unknown_option, #{option := term()}}
    | {backend_init_failed, #{class := atom(), reason := term(), stacktrace := list()}}.

-spec check(term()) -> {ok, checked()} | {error, [reason(), ...]}.
check(Options) when is_map(Options) ->
    {Own, Backends} = lists:partition(fun({Option, _}) -> is_own(Option) end, lists:sort(maps:to_list(Options))),
    Reasons = lists:flatmap(fun check_one/1, Own),
    BackendReasons =
        case maps:get(backend_module, Options, ferrets_discovery_file) of
            Backend when is_atom(Backend) -> ask_backend(Backend, maps:from_list(Backends));
            _ -> []
        end,
    case Reasons ++ BackendReasons of
        [] -> {ok, with_defaults(Options)};
        All -> {error, All}
    end;
check(Options) ->
    {error, [{bad_options, #{value => Options}}]}.

-spec ask_backend(module(), map()) -> [reason()].
ask_backend(Backend, Options) ->
    _ = code:ensure_loaded(Backend),
    case erlang:function_exported(Backend, check_options, 1) of
        true -> Backend:check_options(Options);
        false -> []
    end.

%% For a backend that knows all its options: each with a test of its value. All are required.
-spec check_backend(#{atom() => fun((term()) -> boolean())}, Options :: map()) -> [reason()].
check_backend(Tests, Options) ->
    Missing = [{missing_option, #{option => Option}} || Option <- lists:sort(maps:keys(Tests)), not is_map_key(Option, Options)],
    Missing ++ lists:flatmap(fun(Pair) -> check_backend_option(Pair, Tests) end, lists:sort(maps:to_list(Options))).

-spec check_backend_option({term(), term()}, #{atom() => fun((term()) -> boolean())}) -> [reason()].
check_backend_option({Option, Value}, Tests) ->
    case Tests of
        #{Option := Test} ->
            case Test(Value) of
                true -> [];
                false -> [{bad_option, #{option => Option, value => Value}}]
            end;
        #{} ->
            [{unknown_option, #{option => Option}}]
    end.

-spec with_defaults(options()) -> checked().
with_defaults(Options) ->
    #{tables := Tables, retry_intervals := Intervals} = All = maps:merge(defaults(), Options),
    All#{
        tables := lists:usort(Tables),
        retry_intervals := maps:merge(maps:get(retry_intervals, defaults()), Intervals)
    }.

-spec defaults() -> checked().
defaults() ->
    #{
        tables => [],
        backend_module => ferrets_discovery_file,
        retry_intervals => #{initial => 5_000, after_error => 1_000, after_nodedown => 30_000, regular => 300_000},
        initial_phase => 300_000,
        get_nodes_timeout => 30_000,
        ping_timeout => 5_000
    }.

-spec is_own(term()) -> boolean().
is_own(Option) ->
    Option =:= name orelse is_map_key(Option, defaults()).

-spec check_one({atom(), term()}) -> [reason()].
check_one({Option, Value}) ->
    case is_good(Option, Value) of
        true -> [];
        false -> [{bad_option, #{option => Option, value => Value}}]
    end.

-spec is_good(atom(), term()) -> boolean().
is_good(name, Name) -> is_atom(Name) andalso Name =/= undefined;
is_good(tables, Tables) -> is_proper(Tables) andalso lists:all(fun is_atom/1, Tables);
is_good(backend_module, Module) -> is_backend(Module);
is_good(retry_intervals, Intervals) when is_map(Intervals) -> lists:all(fun is_interval/1, maps:to_list(Intervals));
is_good(retry_intervals, _) -> false;
is_good(initial_phase, 0) -> true;
is_good(_Timeout, Ms) -> is_ms(Ms).

-spec is_proper(term()) -> boolean().
is_proper(List) when length(List) >= 0 -> true;
is_proper(_) -> false.

-spec is_backend(term()) -> boolean().
is_backend(Module) when is_atom(Module) ->
    _ = code:ensure_loaded(Module),
    erlang:function_exported(Module, init, 1) andalso erlang:function_exported(Module, get_nodes, 1);
is_backend(_) ->
    false.

-spec is_interval({term(), term()}) -> boolean().
is_interval({Type, Ms}) ->
    lists:member(Type, [initial, after_error, after_nodedown, regular]) andalso is_ms(Ms).

%% What a timer of the VM takes.
-spec is_ms(term()) -> boolean().
is_ms(Ms) -> is_integer(Ms) andalso Ms > 0 andalso Ms < 1 bsl 32.
