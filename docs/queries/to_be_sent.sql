-- Orders that wait to be sent, the most overdue first, with the hours since payment.
SELECT shop_id, order_id, paid_at, promised_ship_at, receiver_state,
       round(extract(epoch FROM now() - paid_at) / 3600, 1) AS hours_waiting
FROM bi.orders
WHERE shop_id = 'my-shop' AND status = 'WAIT_SELLER_SEND_GOODS'
ORDER BY coalesce(promised_ship_at, paid_at)
LIMIT 500;
