%%% A table's server as an OTP process: its life and end, what it survives, and the application around it.
-module(ferrets_server_SUITE).

-include_lib("stdlib/include/assert.hrl").

-compile(export_all).

-define(TAB, ?FUNCTION_NAME).

all() ->
    [
        the_table_goes_with_its_server_however_it_ends,
        a_name_can_be_used_again_at_once,
        a_linked_server_ends_with_its_starter,
        a_server_stands_in_a_supervision_tree,
        a_server_survives_any_stray_message,
        a_server_logs_a_stray_message_once,
        a_server_answers_sys_calls,
        a_writer_waits_for_a_suspended_server_of_a_lone_table_in_vain_only_if_it_asks,
        a_server_does_not_trap_exits,
        the_application_starts_with_the_library,
        the_application_says_that_the_library_is_missing,
        the_application_says_that_the_library_is_no_library,
        the_application_says_that_the_library_is_stale
    ].

end_per_testcase(Case, _Config) ->
    whereis(Case) =:= undefined orelse ferrets:stop(Case).

%% ---------------------------------------------------------------- life and end

the_table_goes_with_its_server_however_it_ends(_Config) ->
    Ends = [
        fun ferrets:stop/1,
        fun(Server) -> exit(Server, kill) end,
        fun(Server) -> exit(Server, a_reason) end,
        fun(Server) -> gen_server:stop(Server, shutdown, 5000) end,
        fun(Server) -> sys:terminate(Server, enough) end
    ],
    [
        begin
            {ok, Server} = ferrets:start(?TAB, #{}),
            ok = ferrets:insert(?TAB, {a}),
            Monitor = monitor(process, Server),
            End(Server),
            receive {'DOWN', Monitor, process, Server, _} -> ok end,
            ferrets_test_cluster:wait_until(fun() -> is_gone(?TAB) end),
            ?assertExit({noproc, _}, ferrets:insert(?TAB, {a}))
        end
     || End <- Ends
    ].

is_gone(Tab) ->
    try ferrets:lookup(Tab, a) of
        _ -> false
    catch
        error:badarg -> true
    end.

a_name_can_be_used_again_at_once(_Config) ->
    [
        begin
            {ok, Server} = ferrets:start(?TAB, #{keypos => 1 + N rem 2}),
            ?assertEqual(0, ferrets:size(?TAB)),
            ok = ferrets:insert(?TAB, {N, N}),
            Monitor = monitor(process, Server),
            exit(Server, kill),
            receive {'DOWN', Monitor, process, Server, killed} -> ok end
        end
     || N <- lists:seq(1, 500)
    ],
    %% The last of the old servers' tables must not take the new one with it.
    {ok, _} = ferrets:start(?TAB, #{}),
    ok = ferrets:insert(?TAB, {a}),
    pong = ferrets:ping(?TAB),
    ?assertEqual([{a}], ferrets:dump(?TAB)).

a_linked_server_ends_with_its_starter(_Config) ->
    Self = self(),
    Starter = spawn(fun() ->
        Self ! ferrets:start_link(?TAB, #{}),
        receive die -> exit(starter_dies) end
    end),
    {ok, Server} = receive Started -> Started end,
    Monitor = monitor(process, Server),
    Starter ! die,
    receive {'DOWN', Monitor, process, Server, Reason} -> ?assertEqual(starter_dies, Reason) end.

a_server_stands_in_a_supervision_tree(_Config) ->
    Children = [ferrets:child_spec({?TAB, #{type => set}}), ferrets:child_spec({other_table, #{}})],
    process_flag(trap_exit, true),
    {ok, Supervisor} = supervisor:start_link(?MODULE, Children),
    Server = whereis(?TAB),
    ok = ferrets:insert(?TAB, {a}),
    exit(Server, kill),
    ferrets_test_cluster:wait_until(fun() -> is_pid(whereis(?TAB)) andalso whereis(?TAB) =/= Server end),
    pong = ferrets:ping(?TAB),
    ?assertEqual(0, ferrets:size(?TAB)),
    exit(Supervisor, shutdown),
    receive {'EXIT', Supervisor, shutdown} -> ok end,
    ?assertEqual(undefined, whereis(?TAB)).

init(Children) ->
    {ok, {#{}, Children}}.

%% ---------------------------------------------------------------- what it survives

a_server_survives_any_stray_message(_Config) ->
    {ok, Server} = ferrets:start(?TAB, #{}),
    ok = ferrets:insert(?TAB, {a, 1}),
    [Server ! Message || Message <- stray_messages(Server)],
    gen_server:cast(Server, nonsense),
    ?assertExit({timeout, _}, gen_server:call(Server, nonsense, 50)),
    ?assertEqual(pong, ferrets:ping(?TAB)),
    ?assertEqual(Server, whereis(?TAB)),
    ok = ferrets:insert(?TAB, {b, 2}),
    ?assertEqual([{a, 1}, {b, 2}], ferrets:dump(?TAB)),
    ?assertEqual([], ferrets:other_pids(?TAB)).

stray_messages(Server) ->
    Ref = make_ref(),
    Dead = spawn(fun() -> ok end),
    Garbage = crypto:strong_rand_bytes(100),
    [
        nonsense,
        {timeout, Ref, tick},
        {'DOWN', Ref, process, self(), reason},
        {'DOWN', Ref, port, not_a_port, reason},
        {'EXIT', self(), reason},
        {nodedown, node()},
        {Ref, late_answer},
        {[alias | Ref], late_answer},
        {'$gen_call', not_from, nonsense},
        {'$gen_cast', nonsense},
        ferrets_flush,
        ferrets_backlog,
        {ferrets_link, Server, <<>>, <<>>},
        {ferrets_link, self(), <<>>, <<>>},
        {ferrets_link, self(), Garbage, Garbage},
        {ferrets_link, Dead, Garbage, <<>>},
        {ferrets_link, not_a_pid, <<>>, <<>>},
        {ferrets_link, self(), not_a_binary, <<>>},
        {ferrets_request, not_a_reference, ping},
        {ferrets_request, Ref, nonsense},
        {ferrets_request, Ref, {link, not_a_pid}},
        {ferrets_request, Ref, {link, Server}},
        {ferrets_request, Ref, {write, nonsense, {a}}},
        {ferrets_request, Ref, {write, insert, no_record}},
        {ferrets_request, Ref, {write, insert_many, [{c} | improper]}},
        {ferrets_request, Ref, {write, insert_many, not_a_list}},
        {ferrets_request, Ref, {write, delete_many, not_a_list}}
    ].

a_server_logs_a_stray_message_once(Config) ->
    {ok, Server} = ferrets:start(?TAB, #{}),
    Handler = ?FUNCTION_NAME,
    ok = logger:add_handler(Handler, ?MODULE, #{config => #{log_to => self()}}),
    Server ! {stray, Config},
    pong = ferrets:ping(?TAB),
    ok = logger:remove_handler(Handler),
    Logged = flush_log(),
    ?assertMatch([_], [Report || #{what := ferrets_unexpected_message, table := ?TAB} = Report <- Logged]).

log(#{msg := {report, Report}}, #{config := #{log_to := Pid}}) -> Pid ! {logged, Report};
log(_Event, _Config) -> ok.

flush_log() ->
    receive {logged, Report} -> [Report | flush_log()]
    after 0 -> []
    end.

a_server_answers_sys_calls(_Config) ->
    {ok, Server} = ferrets:start(?TAB, #{}),
    ok = ferrets:insert(?TAB, {a}),
    ok = sys:suspend(?TAB),
    ?assertMatch({status, Server, {module, gen_server}, _}, sys:get_status(?TAB)),
    ok = sys:change_code(?TAB, ferrets_server, undefined, []),
    ok = sys:resume(?TAB),
    ?assertEqual(state, element(1, sys:get_state(?TAB))),
    ok = ferrets:insert(?TAB, {b}),
    ?assertEqual(pong, ferrets:ping(?TAB)),
    ?assertEqual([{a}, {b}], ferrets:dump(?TAB)).

%% Reads, and writes of a lone table, need no server at all.
a_writer_waits_for_a_suspended_server_of_a_lone_table_in_vain_only_if_it_asks(_Config) ->
    {ok, Server} = ferrets:start(?TAB, #{}),
    ok = sys:suspend(Server),
    ok = ferrets:insert(?TAB, {a}),
    ?assertEqual([{a}], ferrets:lookup(?TAB, a)),
    Nodes = ferrets:get_nodes_request(?TAB),
    ?assertEqual(timeout, ferrets:wait_response(Nodes, 50)),
    ok = sys:resume(Server),
    ?assertEqual({reply, [node()]}, ferrets:wait_response(Nodes, 5000)).

a_server_does_not_trap_exits(_Config) ->
    {ok, Server} = ferrets:start(?TAB, #{}),
    ?assertEqual({trap_exit, false}, process_info(Server, trap_exit)).

%% ---------------------------------------------------------------- the application

the_application_starts_with_the_library(_Config) ->
    {ok, _} = application:ensure_all_started(ferrets),
    ?assert(lists:keymember(ferrets, 1, application:which_applications())),
    ok = application:stop(ferrets).

the_application_says_that_the_library_is_missing(Config) ->
    ?assertMatch({native_library_missing, #{path := _, reason := _}}, failed_start("ferrets", fun(_Ebin, _Library) -> ok end, Config)).

the_application_says_that_the_library_is_no_library(Config) ->
    Garbage = fun(_Ebin, Library) -> ok = file:write_file(Library, "garbage") end,
    ?assertMatch({native_library_missing, #{path := _, reason := _}}, failed_start("ferrets", Garbage, Config)).

%% Wherever it lies.
the_application_says_that_the_library_is_stale(Config) ->
    Stale = fun(Ebin, Library) ->
        {ok, _} = file:copy(filename:join(code:priv_dir(ferrets), "ferrets_nif.so"), Library),
        ok = expect_another_abi(filename:join(Ebin, "ferrets_library.beam"))
    end,
    [
        begin
            {native_library_stale, #{path := Path, expected := 0}} = failed_start(Folder, Stale, Config),
            ?assertEqual(Folder, filename:basename(filename:dirname(filename:dirname(Path))))
        end
     || Folder <- ["ferrets", "elsewhere"]
    ].

%% Has the code ask for an ABI that no library has.
expect_another_abi(Beam) ->
    {ok, {ferrets_library, [{abstract_code, {raw_abstract_v1, Forms}}]}} = beam_lib:chunks(Beam, [abstract_code]),
    {ok, ferrets_library, Code} = compile:forms([ask_for_another(Form) || Form <- Forms]),
    file:write_file(Beam, Code).

ask_for_another({function, Line, abi, 0, [{clause, _, [], [], [{integer, NumberLine, _}]}]}) ->
    {function, Line, abi, 0, [{clause, Line, [], [], [{integer, NumberLine, 0}]}]};
ask_for_another(Form) ->
    Form.

%% What a node says that finds the code, but not the library it wants.
failed_start(Folder, Put, Config) ->
    Root = filename:join(proplists:get_value(priv_dir, Config), Folder),
    Ebin = filename:join(Root, "ebin"),
    Library = filename:join([Root, "priv", "ferrets_nif.so"]),
    [ok = filelib:ensure_dir(File) || File <- [Library, filename:join(Ebin, "any")]],
    From = filename:dirname(code:which(ferrets)),
    {ok, Files} = file:list_dir(From),
    [{ok, _} = file:copy(filename:join(From, File), filename:join(Ebin, File)) || File <- Files],
    ok = Put(Ebin, Library),
    {ok, Control, _} = peer:start(#{
        connection => standard_io, args => ["-pa", Ebin, "-kernel", "logger_level", "emergency"]
    }),
    try peer:call(Control, application, start, [ferrets]) of
        {error, {Reason, {ferrets_app, start, [normal, []]}}} -> Reason
    after
        peer:stop(Control),
        ok = file:del_dir_r(Root)
    end.
