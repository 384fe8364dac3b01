%%% Discovery's options, and what it makes of backends: those that come with it, and those that raise, hang or talk rubbish.
-module(ferrets_backend_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).

-import(ferrets_test_cluster, [call/2, call/4, node/1, wait_until/1]).

-compile({no_auto_import, [node/1]}).

-define(NAME, "disco.test").

all() ->
    [
        all_that_is_wrong_with_the_options_is_said_at_once,
        a_backend_may_check_its_own_options,
        a_name_is_taken_once,
        a_child_specification_starts_it,
        stray_messages_harm_nothing,
        a_backend_that_fails_is_asked_again_and_blocks_nobody,
        a_backend_that_cannot_be_made_fails_the_start,
        a_backend_that_hangs_ends_with_discovery,
        a_change_while_the_backend_is_asked_has_it_asked_again,
        the_phases_have_their_intervals,
        a_file_may_be_written_carelessly,
        addresses_of_a_name_are_nodes,
        a_name_server_that_is_slow_silent_or_ignorant_is_asked_again,
        a_node_that_dns_knows_is_joined
    ].

end_per_testcase(_Case, _Config) ->
    whereis(disco) =:= undefined orelse gen_server:stop(disco),
    ok.

start(Options) ->
    ferrets_discovery:start(ferrets_test_disco:options(Options)).

info() ->
    ferrets_discovery:system_info(disco).

await_result(IsWanted) ->
    wait_until(fun() -> IsWanted(maps:get(last_get_nodes_result, info())) end).

%% ---------------------------------------------------------------- options

all_that_is_wrong_with_the_options_is_said_at_once(_Config) ->
    ?assertEqual({error, [{bad_options, #{value => []}}]}, ferrets_discovery:start([])),
    ?assertEqual({error, [{missing_option, #{option => disco_file}}]}, ferrets_discovery:start(#{name => disco})),
    ?assertEqual(
        {error, [
            {bad_option, #{option => get_nodes_timeout, value => 0}},
            {bad_option, #{option => initial_phase, value => -1}},
            {bad_option, #{option => name, value => "disco"}},
            {bad_option, #{option => ping_timeout, value => infinity}},
            {bad_option, #{option => retry_intervals, value => #{sometimes => 1}}},
            {bad_option, #{option => tables, value => [a | b]}},
            {unknown_option, #{option => colour}},
            {bad_option, #{option => disco_file, value => 7}}
        ]},
        ferrets_discovery:start(#{
            name => "disco",
            tables => [a | b],
            retry_intervals => #{sometimes => 1},
            initial_phase => -1,
            get_nodes_timeout => 0,
            ping_timeout => infinity,
            disco_file => 7,
            colour => red
        })
    ),
    ?assertEqual(
        {error, [{bad_option, #{option => backend_module, value => lists}}]},
        ferrets_discovery:start(#{backend_module => lists})
    ),
    ?assertEqual(
        {error, [
            {missing_option, #{option => query}},
            {bad_option, #{option => basename, value => "a@b"}}
        ]},
        ferrets_discovery:start(#{backend_module => ferrets_discovery_dns, basename => "a@b"})
    ),
    ?assertEqual(
        {error, [{bad_option, #{option => get_nodes_fn, value => fun erlang:nodes/0}}]},
        ferrets_discovery:start(#{backend_module => ferrets_discovery_fun, get_nodes_fn => fun erlang:nodes/0})
    ),
    ?assertEqual(
        {error, [{unknown_option, #{option => disco_file}}]},
        ferrets_discovery:start(#{backend_module => ferrets_discovery_nodes, disco_file => "x"})
    ),
    ?assertEqual(undefined, whereis(disco)).

%% This suite is a backend too.
init(#{how := refuse}) -> error(refused);
init(Options) -> Options.

get_nodes(State) -> {{ok, []}, State}.

check_options(#{how := How}) when is_atom(How) -> [];
check_options(Options) -> [{bad_option, #{option => how, value => maps:get(how, Options, none)}}].

a_backend_may_check_its_own_options(_Config) ->
    ?assertEqual(
        {error, [{bad_option, #{option => how, value => 1}}]},
        ferrets_discovery:start(#{backend_module => ?MODULE, how => 1})
    ),
    {ok, Pid} = ferrets_discovery:start(#{backend_module => ?MODULE, how => well}),
    ?assertMatch(#{backend_state := #{how := well}, backend_module := ?MODULE}, ferrets_discovery:system_info(Pid)),
    gen_server:stop(Pid).

a_backend_that_cannot_be_made_fails_the_start(_Config) ->
    ?assertMatch(
        {error, [{backend_init_failed, #{class := error, reason := refused, stacktrace := [_ | _]}}]},
        ferrets_discovery:start(#{backend_module => ?MODULE, how => refuse})
    ).

a_name_is_taken_once(_Config) ->
    {ok, Pid} = start(#{backend_module => ferrets_discovery_nodes}),
    ?assertEqual({error, {already_started, Pid}}, start(#{backend_module => ferrets_discovery_nodes})).

a_child_specification_starts_it(_Config) ->
    Spec = ferrets_discovery:child_spec(#{name => disco, backend_module => ferrets_discovery_nodes}),
    ?assertMatch(#{id := {ferrets_discovery, disco}, start := {ferrets_discovery, start_link, [_]}}, Spec),
    {M, F, A} = maps:get(start, Spec),
    {ok, Pid} = apply(M, F, A),
    ?assertEqual(ok, ferrets_discovery:wait_for_ready(disco, 5000)),
    unlink(Pid).

stray_messages_harm_nothing(_Config) ->
    {ok, Pid} = start(#{backend_module => ferrets_discovery_nodes}),
    [
        Pid ! Message
     || Message <- [
            hello,
            {timeout, make_ref(), check},
            {timeout, make_ref(), patience},
            {timeout, make_ref(), {ferrets_task_late, self()}},
            {timeout, make_ref(), {watch_table, nobody}},
            {'DOWN', make_ref(), process, self(), noproc},
            {'EXIT', self(), normal},
            {ferrets_started, nobody, not_a_time, greeting},
            {nodeup, nobody},
            {nodedown, nobody}
        ]
    ],
    gen_server:cast(Pid, hello),
    ?assertExit({timeout, _}, gen_server:call(Pid, hello, 10)),
    ?assertEqual({ok, []}, ferrets_discovery:get_tables(disco)),
    ?assertError(function_clause, ferrets_discovery:add_table(disco, "no table")),
    ok = sys:suspend(Pid),
    ok = sys:change_code(Pid, ferrets_discovery_server, undefined, []),
    ok = sys:resume(Pid),
    ?assertEqual(Pid, whereis(disco)).

%% ---------------------------------------------------------------- bad backends

a_backend_that_fails_is_asked_again_and_blocks_nobody(_Config) ->
    Mood = atomics:new(1, []),
    Fun = fun(State) ->
        case atomics:get(Mood, 1) of
            0 -> error(on_purpose);
            1 -> receive never -> ok end;
            2 -> rubbish;
            3 -> {{ok, [a | b]}, State};
            4 -> {{ok, ["a@b"]}, State};
            5 -> {{error, no_idea}, State#{told => true}};
            6 -> exit(kill);
            7 -> exit(self(), kill), receive never -> ok end;
            8 -> {{ok, [erlang:node(), erlang:node()]}, State}
        end
    end,
    {ok, _} = start(#{backend_module => ferrets_discovery_fun, get_nodes_fn => Fun, get_nodes_timeout => 100}),
    ?assertExit({timeout, _}, ferrets_discovery:wait_for_ready(disco, 10)),
    [
        begin
            atomics:put(Mood, 1, N),
            await_result(IsWanted),
            ?assertEqual({ok, []}, ferrets_discovery:get_tables(disco)),
            ?assertMatch(#{retry_type := after_error, verify_ready := [{bad_last_get_nodes_result, _}]}, info())
        end
     || {N, IsWanted} <- [
            {0, fun(R) -> is_raised(R, error, on_purpose) end},
            {1, fun(R) -> R =:= {error, timeout} end},
            {2, fun(R) -> R =:= {error, {bad_backend_return, #{value => rubbish}}} end},
            {3, fun({error, {bad_backend_return, #{value := {{ok, [a | b]}, _}}}}) -> true; (_) -> false end},
            {4, fun({error, {bad_backend_return, #{value := {{ok, ["a@b"]}, _}}}}) -> true; (_) -> false end},
            {5, fun(R) -> R =:= {error, no_idea} end},
            {6, fun(R) -> is_raised(R, exit, kill) end},
            {7, fun(R) -> R =:= {error, {killed, killed}} end}
        ]
    ],
    ?assertMatch(#{backend_state := #{told := true}}, info()),
    atomics:put(Mood, 1, 8),
    ?assertEqual(ok, ferrets_discovery:wait_for_ready(disco, 5000)),
    Node = erlang:node(),
    ?assertMatch(#{nodes := [Node], verify_ready := []}, info()).

is_raised({error, {raised, #{class := Class, reason := Reason, stacktrace := _}}}, Class, Reason) -> true;
is_raised(_, _, _) -> false.

a_backend_that_hangs_ends_with_discovery(_Config) ->
    Self = self(),
    Fun = fun(_) -> Self ! {hanging, self()}, receive never -> ok end end,
    {ok, Pid} = start(#{backend_module => ferrets_discovery_fun, get_nodes_fn => Fun}),
    receive {hanging, Hanging} -> ok end,
    Monitor = monitor(process, Hanging),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, _, _} -> ok end.

a_change_while_the_backend_is_asked_has_it_asked_again(_Config) ->
    Self = self(),
    Fun = fun(State) -> Self ! {asked, self()}, receive go_on -> {{ok, []}, State} end end,
    {ok, _} = start(#{backend_module => ferrets_discovery_fun, get_nodes_fn => Fun, retry_intervals => #{initial => 60_000}}),
    First = receive {asked, Pid1} -> Pid1 end,
    ok = ferrets_discovery:add_table(disco, tab),
    ?assertMatch(#{get_nodes_status := running, should_retry_get_nodes := true}, info()),
    Waiting = spawn_monitor(fun() -> ferrets_discovery:wait_for_get_nodes(disco, 60_000) end),
    First ! go_on,
    Second = receive {asked, Pid2} -> Pid2 end,
    ?assertMatch(#{get_nodes_status := running, should_retry_get_nodes := false}, info()),
    ?assert(is_process_alive(element(1, Waiting))),
    Second ! go_on,
    receive {'DOWN', _, process, Pid, Reason} when Pid =:= element(1, Waiting) -> ?assertEqual(normal, Reason) end,
    ?assertMatch(#{get_nodes_status := not_running}, info()).

the_phases_have_their_intervals(_Config) ->
    %% Those of the contract.
    {ok, #{retry_intervals := Intervals, initial_phase := 300_000}} =
        ferrets_discovery_options:check(#{backend_module => ferrets_discovery_nodes}),
    ?assertEqual(#{initial => 5_000, after_error => 1_000, after_nodedown => 30_000, regular => 300_000}, Intervals),
    Self = self(),
    Fun = fun(State) -> Self ! asked, {{ok, []}, State} end,
    {ok, _} = start(#{
        backend_module => ferrets_discovery_fun,
        get_nodes_fn => Fun,
        initial_phase => 0,
        retry_intervals => #{initial => 60_000, regular => 10, after_nodedown => 10}
    }),
    %% The first is of the initial phase, which is over at once.
    wait_until(fun() -> maps:get(phase, info()) =:= regular end),
    receive asked -> ok end,
    ok = ferrets_discovery:add_table(disco, tab),
    [receive asked -> ok end || _ <- lists:seq(1, 3)],
    ?assertMatch(#{last_get_nodes_retry_type := regular, retry_type := regular}, info()),
    disco ! {nodedown, nobody},
    wait_until(fun() -> maps:get(last_get_nodes_retry_type, info()) =:= after_nodedown end).

%% ---------------------------------------------------------------- files

a_file_may_be_written_carelessly(Config) ->
    Path = ferrets_test_disco:path(Config),
    State = ferrets_discovery_file:init(#{disco_file => Path, name => disco}),
    Read = fun(Text) ->
        ok = file:write_file(Path, Text),
        {Result, State} = ferrets_discovery_file:get_nodes(State),
        Result
    end,
    ?assertEqual({{error, {enoent, #{disco_file => Path}}}, State}, ferrets_discovery_file:get_nodes(State)),
    ?assertEqual({ok, []}, Read("")),
    ?assertEqual({ok, []}, Read("\r\n \n\t\n")),
    ?assertEqual({ok, ['a@h', 'b@h']}, Read("b@h\na@h")),
    ?assertEqual({ok, ['a@h', 'b@h']}, Read("  a@h \r\n\r\n\tb@h\t\r\na@h\r\n")),
    ?assertEqual({error, {bad_line, #{disco_file => Path, line => 2}}}, Read(["a@h\n", lists:duplicate(256, $a)])),
    ?assertEqual({error, {bad_line, #{disco_file => Path, line => 1}}}, Read([255, "\n"])),
    ok = file:delete(Path).

%% ---------------------------------------------------------------- DNS

with_dns(Answer, Test) ->
    Server = ferrets_test_dns:start(Answer),
    try
        Test(#{query => ?NAME, basename => app, resolver_options => ferrets_test_dns:resolver_options(Server)})
    after
        ferrets_test_dns:stop(Server)
    end.

addresses_of_a_name_are_nodes(_Config) ->
    Answer = fun
        (?NAME, a) -> [{10, 0, 0, 2}, {10, 0, 0, 1}];
        (?NAME, aaaa) -> [{16#fd00, 0, 0, 0, 0, 0, 0, 1}];
        ("none.test", _) -> [];
        ("half.test", a) -> nxdomain;
        ("half.test", aaaa) -> [{16#fd00, 0, 0, 0, 0, 0, 0, 1}];
        ("silent.test", aaaa) -> silence;
        ("silent.test", a) -> [{10, 0, 0, 1}];
        (_, _) -> nxdomain
    end,
    with_dns(Answer, fun(Options) ->
        Ask = fun(Query) ->
            {Result, _} = ferrets_discovery_dns:get_nodes(ferrets_discovery_dns:init(Options#{query => Query})),
            Result
        end,
        ?assertEqual({ok, ['app@10.0.0.1', 'app@10.0.0.2', 'app@fd00::1']}, Ask(?NAME)),
        ?assertEqual({ok, ['app@10.0.0.1', 'app@10.0.0.2', 'app@fd00::1']}, Ask(<<?NAME>>)),
        ?assertEqual({ok, []}, Ask("none.test")),
        ?assertEqual({ok, ['app@fd00::1']}, Ask("half.test")),
        ?assertEqual({ok, ['app@10.0.0.1']}, Ask("silent.test")),
        ?assertEqual(
            {error, {dns, #{query => "nobody.test", a => {error, nxdomain}, aaaa => {error, nxdomain}}}},
            Ask("nobody.test")
        )
    end).

a_name_server_that_is_slow_silent_or_ignorant_is_asked_again(_Config) ->
    Mood = atomics:new(1, []),
    Answer = fun(?NAME, Type) ->
        case atomics:get(Mood, 1) of
            0 -> silence;
            1 -> nxdomain;
            2 -> servfail;
            3 -> receive after 300 -> addresses(Type) end
        end
    end,
    with_dns(Answer, fun(Options) ->
        {ok, _} = start(Options#{backend_module => ferrets_discovery_dns}),
        ?assertEqual({ok, []}, ferrets_discovery:get_tables(disco)),
        [
            begin
                atomics:put(Mood, 1, N),
                await_result(fun
                    ({error, {dns, #{a := {error, Of}}}}) -> Of =:= Reason;
                    (_) -> false
                end)
            end
         || {N, Reason} <- [{0, timeout}, {1, nxdomain}, {2, servfail}]
        ],
        atomics:put(Mood, 1, 3),
        wait_until(fun() -> maps:get(get_nodes_status, info()) =:= running end),
        ?assertEqual({ok, []}, ferrets_discovery:get_tables(disco)),
        await_result(fun(Result) -> Result =:= {ok, ['app@127.0.0.1']} end)
    end).

addresses(a) -> [{127, 0, 0, 1}];
addresses(aaaa) -> [].

a_node_that_dns_knows_is_joined(_Config) ->
    with_dns(fun(?NAME, Type) -> addresses(Type) end, fun(Options) ->
        ferrets_test_disco:with_nodes(2, fun([A, B] = Peers) ->
            [
                begin
                    [Base, _] = string:split(atom_to_list(node(Other)), "@"),
                    ferrets_test_disco:start([Peer], [tab], Options#{
                        backend_module => ferrets_discovery_dns, basename => Base
                    })
                end
             || {Peer, Other} <- [{A, B}, {B, A}]
            ],
            ferrets_test_disco:await_ready(Peers),
            ferrets_test_disco:await_mesh(Peers, tab)
        end)
    end).
