#!/usr/bin/perl

# D4, D5 by the calls of an address book: added, imported, edited, merged,
# deleted and restored entries; and that none of their answers tells who is
# registered.

use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time);

use CardxTest;
use CardxTest::Matching;

sub own {
    my ($name, @numbers) = @_;
    my $n = 0;
    return { '@type' => 'Card', version => '1.0', name => { full => $name },
        @numbers ? (phones => { map { 'p' . $n++ => { number => $_ } }
            @numbers }) : () };
}

# A new entry's id.
sub add {
    my ($me, $name, @numbers) = @_;
    my $r = $t->post('/v1/contacts', { own => own($name, @numbers) },
        $me->{token});
    is($r->{status}, 201, 'an entry') or diag($r->{body});
    return $r->{json}{contact_id};
}

sub entry {
    my ($me, $id) = @_;
    return $t->get("/v1/contacts/$id", undef, $me->{token})->{json};
}

# Whether the entry shows this one's card, or (undef) none, in a while.
sub shows {
    my ($me, $id, $whom, $name) = @_;
    my $entry;
    ok($t->wait_for(sub {
        $entry = entry($me, $id);
        ($entry->{card_id} // '') eq ($whom ? $whom->{card_id} : '');
    }, 20), $name) or diag(JSON::PP->new->encode($entry));
    return $entry;
}


subtest 'by every call' => sub {
    my ($a, $b) = map { person() } 1 .. 2;
    my $id = add($a, 'My B', $b->{phone});
    settled();
    is(entry($a, $id)->{live}, undef, 'one side alone');

    my $r = $t->post('/v1/contacts/import', "BEGIN:VCARD\r\nVERSION:3.0\r\n"
        . "FN:My A\r\nN:A;;;;\r\nTEL;TYPE=CELL:$a->{phone}\r\nEND:VCARD\r\n",
        { %{ $b->{token} }, 'Content-Type' => 'text/vcard' });
    is("$r->{status} $r->{json}{added}", '200 1', 'the other uploads a book');
    my $entry = shows($a, $id, $b, 'A follows B');
    is($entry->{owner}{user_id}, $b->{user_id}, 'and sees who it is');
    is($entry->{own}{name}{full}, 'My B', 'the entry stays as it was typed');
    is($entry->{card}{phones}{p0}{number}, $b->{phone}, 'and is merged');
    my $list = $t->get('/v1/contacts', undef, $b->{token})->{json}{items};
    shows($b, $list->[0]{contact_id}, $a, 'B follows A');
    my $holders = $t->get("/v1/cards/$b->{card_id}/holders", undef,
        $b->{token})->{json}{items};
    is($holders->[0]{user_id}, $a->{user_id}, 'the owner sees who holds it');

    my $edit = sub { $t->patch("/v1/contacts/$id", { own => $_[0] },
        $a->{token})->{status} };
    is($edit->({ phones => undef }), 200, 'the number is taken out');
    shows($a, $id, undef, 'it is over');
    shows($b, $list->[0]{contact_id}, undef, 'for both');
    is($edit->({ phones => { x => { number => $b->{phone} } } }), 200);
    shows($a, $id, $b, 'and back');

    $t->signal('fanout', 'STOP');
    is($t->delete("/v1/contacts/$id", undef, $a->{token})->{status}, 204);
    is(entry($b, $list->[0]{contact_id})->{live}, undef,
        'whose number is gone does not see the card from then on');
    $t->signal('fanout', 'CONT');
    shows($b, $list->[0]{contact_id}, undef, 'the entry is deleted: over');
    is($t->post("/v1/contacts/$id/restore", {}, $a->{token})->{status}, 200);
    shows($a, $id, $b, 'restored: back');

    my $second = add($a, 'Mister B');
    $r = $t->post("/v1/contacts/$second/merge", { with => $id }, $a->{token});
    is($r->{status}, 200, 'merged into another') or diag($r->{body});
    shows($a, $second, $b, 'which follows now');
    settled();
    is(entry($a, $second)->{card_id}, $b->{card_id}, 'and goes on');
    $r = $t->post("/v1/contacts/$second/restore", {}, $a->{token});
    is($r->{status}, 200, 'taken apart') or diag($r->{body});
    shows($a, $id, $b, 'the first one follows again');
    shows($a, $second, undef, 'the other does not');

    my $odd = add($a, 'Odd', '12');
    is(entry($a, $odd)->{own}{phones}{p0}{number}, '12',
        'what is no possible number stays in the entry');
    is($t->psql("select count(*) from cardx.match_entries
        where contact_id = '$odd'"), 0, 'and is not compared');

    # the owner's change arrives
    $t->patch("/v1/cards/$b->{card_id}", { titles => { t => { name =>
        'Captain' } } }, $b->{token});
    is(entry($a, $id)->{card}{titles}{t}{name}, 'Captain',
        'what the owner changes, shows');
    is($t->delete("/v1/cards/$b->{card_id}/holders/$a->{user_id}", undef,
        $b->{token})->{status}, 204, 'the owner takes it back');
    is(entry($a, $id)->{live}, undef, 'gone');
    $t->psql("select cardx.match_again('$a->{user_id}')");
    settled();
    is(entry($a, $id)->{live}, undef, 'and matching does not bring it back');
    is($t->delete("/v1/cards/$b->{card_id}/blocks/$a->{user_id}", undef,
        $b->{token})->{status}, 204, 'the owner lifts the block');
    shows($a, $id, $b, 'then they know each other again');
};


subtest 'no answer tells who is registered' => sub {
    my $known = person();
    my $me = person();
    my (%answer, %ms);
    for my $round (1 .. 8) {
        for my $kind ($round % 2 ? qw(known unknown) : qw(unknown known)) {
            my $phone = $kind eq 'known' ? $known->{phone} : number();
            my $began = time;
            my $r = $t->post('/v1/contacts', { own => own('X', $phone) },
                $me->{token});
            push @{ $ms{$kind} }, 1000 * (time - $began);
            my $id = $r->{json}{contact_id};
            $r->{body} =~ s/\Q$phone\E|$id|urn:uuid:[\w-]+|"\d{4}-[^"]*Z"//g;
            $answer{$kind}{"$r->{status} $r->{body}"} = 1;
            settled();
            my $later = $t->get("/v1/contacts/$id", undef, $me->{token});
            $later->{body}
                =~ s/\Q$phone\E|$id|urn:uuid:[\w-]+|"\d{4}-[^"]*Z"//g;
            $answer{$kind}{ "later $later->{status} "
                . "$later->{headers}{etag} $later->{body}" } = 1;
            $t->delete("/v1/contacts/$id", undef, $me->{token});
            settled();
        }
    }
    is_deeply([ sort keys %{ $answer{known} } ],
        [ sort keys %{ $answer{unknown} } ], 'the same answers');
    is(scalar keys %{ $answer{known} }, 2, 'two, whoever it is');
    my %least = map { $_ => (sort { $a <=> $b } @{ $ms{$_} })[2] } keys %ms;
    note(sprintf 'registered: %.1f ms, not: %.1f ms', @least{qw(known unknown)});
    cmp_ok(abs($least{known} - $least{unknown}), '<',
        5 + $least{unknown} / 2, 'after the same time');
};


subtest 'books at once, by import' => sub {
    my @people = map { person() } 1 .. 6;
    my @book = map { own("P$_", $people[$_]{phone}) } 0 .. $#people;
    my @status = $t->at_once(map { my $me = $_; sub {
        my $r = $t->post('/v1/contacts/import', \@book, $me->{token});
        return $r->{status};
    } } @people, reverse @people);
    is(join(' ', @status), join(' ', (200) x 12), 'each uploads all, twice');
    ok($t->wait_for(sub { grants(@people) == 30 }, 60), 'all know each other')
        or diag(grants(@people));
};


$t->finish;
done_testing;
