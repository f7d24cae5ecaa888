<?php
/** The shop's database, an SQLite file. In production, keep it outside the folder that the web server serves. */
declare(strict_types=1);

function database(): PDO
{
    static $db;
    if (!$db) {
        $db = new PDO('sqlite:' . (getenv('DATABASE') ?: __DIR__ . '/shop.db'));
        $db->exec('create table if not exists shop_order (
            id text primary key, item text not null, paid_at text, receipt text
        )');
    }
    return $db;
}

function addOrder(string $id, string $item): void
{
    database()->prepare('insert into shop_order (id, item) values (?, ?)')->execute([$id, $item]);
}

function findOrder(string $id): ?array
{
    $select = database()->prepare('select * from shop_order where id = ?');
    $select->execute([$id]);
    return $select->fetch(PDO::FETCH_ASSOC) ?: null;
}

/** Returns whether the order was not paid before: an event may arrive twice, and at once. */
function markPaid(array $order): bool
{
    $update = database()->prepare('update shop_order set paid_at = ?, receipt = ? where id = ? and paid_at is null');
    $update->execute([$order['occurredAt'], $order['payment']['receipt'] ?? null, $order['orderId']]);
    return $update->rowCount() === 1;
}
