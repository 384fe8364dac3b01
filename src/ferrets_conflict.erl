%%% Has a user's conflict handler decide between two records of one key.
%%%
%%% The handler runs in a process of its own, because the server must survive whatever is in it. Its answer comes to the
%%% server as `{ferrets_decided, Question, Record}', or `newer' in the record's place: if it raises, or answers with what is no
%%% record of that key, that is logged, and the newer of the two records stays. A handler that hangs holds up the join that
%%% it was asked for, and nothing else.
-module(ferrets_conflict).

-export([decide/4]).

-include_lib("kernel/include/logger.hrl").

%% Returns at once. The records are in the external term format; `Ours' is empty if it is gone meanwhile.
-spec decide(ferrets_options:checked(), pos_integer(), Ours :: binary(), Theirs :: binary()) -> ok.
decide(_Options, Question, Ours, Theirs) when Ours =:= <<>>; Ours =:= Theirs ->
    self() ! {ferrets_decided, Question, newer},
    ok;
decide(Options, Question, Ours, Theirs) ->
    Server = self(),
    _ = spawn(fun() ->
        Answer = ask(Options, binary_to_term(Ours), binary_to_term(Theirs)),
        Server ! {ferrets_decided, Question, Answer}
    end),
    ok.

-spec ask(ferrets_options:checked(), tuple(), tuple()) -> tuple() | newer.
ask(#{handle_conflict := Fun} = Options, Ours, Theirs) ->
    try Fun(Ours, Theirs) of
        Answer ->
            case has_key(Options, Answer, Ours) of
                true ->
                    Answer;
                false ->
                    ?LOG_ERROR(#{what => ferrets_bad_conflict_answer, records => [Ours, Theirs], answer => Answer}),
                    newer
            end
    catch
        Class:Reason:Stack ->
            ?LOG_ERROR(#{
                what => ferrets_callback_failed,
                option => handle_conflict,
                argument => [Ours, Theirs],
                class => Class,
                reason => Reason,
                stacktrace => Stack
            }),
            newer
    end.

-spec has_key(ferrets_options:checked(), term(), tuple()) -> boolean().
has_key(#{keypos := KeyPos, type := Type}, Answer, Ours) when is_tuple(Answer), tuple_size(Answer) >= KeyPos ->
    Key = element(KeyPos, Ours),
    case Type of
        ordered_set -> element(KeyPos, Answer) == Key;
        set -> element(KeyPos, Answer) =:= Key
    end;
has_key(_Options, _Answer, _Ours) ->
    false.
